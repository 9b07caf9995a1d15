/** The commands of the kernel's test driver: one request number, and structs as C programs have them. */
import type { Release } from '../rules.js';
import { type Command, command, FIRST_RELEASE, type Sized } from './command-row.js';
import { type Fields, field } from './struct.js';

/** Request number of all commands of the test driver. */
export const TEST_REQUEST = 0x3ba0;
const TEST_LENGTHS = { least: 68, known: 72 };

/** A row of the table. */
function testCommand<const F extends Fields>(
  op: number,
  fields: F,
  since: Release = FIRST_RELEASE,
): Command<Sized<F>> & { op: number } {
  return Object.freeze({ ...command(TEST_REQUEST, TEST_LENGTHS, fields, { since }), op });
}

/** A row of an operation on an access file. */
function fileCommand<const F extends Fields>(op: number, fields: F): Command<Sized<F>> & { op: number } {
  return Object.freeze({ ...testCommand(op, fields), onFile: true });
}

/** What both MOCK_DOMAIN operations give. */
const MOCK_DOMAIN_IDS = {
  /** The address space or page table that the device is attached to. */
  id: field('u32', 8, 'in'),
  /** The test device. */
  outStdevId: field('u32', 16, 'out'),
  outHwptId: field('u32', 20, 'out'),
  /** The bound device: the `devId` of other commands. */
  outIdevId: field('u32', 24, 'out'),
} as const;

/** What operations that move a PASID of a test device take and give. */
const PASID_TARGET = {
  id: field('u32', 8, 'in'),
  pasid: field('u32', 16, 'in'),
  ptId: field('u32', 20, 'io'),
} as const;

/** The operations of the kernel's test driver, by name. They share one request number. */
export const TEST_COMMANDS = Object.freeze({
  TEST_ADD_RESERVED: testCommand(1, {
    id: field('u32', 8, 'in'),
    start: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
  }),
  TEST_MOCK_DOMAIN: testCommand(2, MOCK_DOMAIN_IDS),
  TEST_MD_CHECK_MAP: testCommand(3, {
    id: field('u32', 8, 'in'),
    iova: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
    uptr: field('u64', 32, 'in'),
  }),
  TEST_MD_CHECK_REFS: testCommand(4, {
    length: field('u64', 16, 'in'),
    uptr: field('u64', 24, 'in'),
    refs: field('u32', 32, 'in'),
  }),
  TEST_CREATE_ACCESS: testCommand(5, {
    id: field('u32', 8, 'in'),
    outAccessFd: field('u32', 16, 'out'),
    flags: field('u32', 20, 'in'),
  }),
  TEST_DESTROY_ACCESS_PAGES: fileCommand(6, {
    id: field('u32', 8, 'in'),
    accessPagesId: field('u32', 16, 'in'),
  }),
  TEST_ACCESS_PAGES: fileCommand(7, {
    id: field('u32', 8, 'in'),
    flags: field('u32', 16, 'in'),
    outAccessPagesId: field('u32', 20, 'out'),
    iova: field('u64', 24, 'in'),
    length: field('u64', 32, 'in'),
    uptr: field('u64', 40, 'in?'),
  }),
  TEST_ACCESS_RW: fileCommand(8, {
    id: field('u32', 8, 'in'),
    iova: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
    uptr: field('u64', 32, 'in'),
    flags: field('u32', 40, 'in'),
  }),
  TEST_SET_TEMP_MEMORY_LIMIT: testCommand(9, {
    limit: field('u32', 16, 'in'),
  }),
  TEST_MOCK_DOMAIN_REPLACE: testCommand(10, {
    id: field('u32', 8, 'in'),
    ptId: field('u32', 16, 'io'),
  }),
  TEST_ACCESS_REPLACE_IOAS: fileCommand(11, {
    id: field('u32', 8, 'in'),
    ioasId: field('u32', 16, 'in'),
  }),
  TEST_MOCK_DOMAIN_FLAGS: testCommand(12, {
    ...MOCK_DOMAIN_IDS,
    devFlags: field('u32', 28, 'in'),
  }),
  TEST_DIRTY: testCommand(13, {
    id: field('u32', 8, 'in'),
    flags: field('u32', 16, 'ignored'),
    iova: field('u64', 24, 'in'),
    length: field('u64', 32, 'in'),
    pageSize: field('u64', 40, 'in'),
    uptr: field('u64', 48, 'in'),
    outNrDirty: field('u64', 56, 'out'),
  }),
  TEST_MD_CHECK_IOTLB: testCommand(14, {
    id: field('u32', 8, 'in'),
    iotlbId: field('u32', 16, 'in'),
    iotlb: field('u32', 20, 'in'),
  }),
  TEST_TRIGGER_IOPF: testCommand(15, {
    devId: field('u32', 16, 'in'),
    pasid: field('u32', 20, 'in'),
    grpid: field('u32', 24, 'in'),
    perm: field('u32', 28, 'in'),
    addr: field('u64', 32, 'in'),
  }),
  TEST_DEV_CHECK_CACHE: testCommand(
    16,
    {
      /** The bound device. */
      id: field('u32', 8, 'in'),
      cacheId: field('u32', 16, 'in'),
      cache: field('u32', 20, 'in'),
    },
    '6.13',
  ),
  TEST_TRIGGER_VEVENT: testCommand(17, { devId: field('u32', 16, 'in') }, '6.15'),
  TEST_PASID_ATTACH: testCommand(18, PASID_TARGET, '6.15'),
  TEST_PASID_REPLACE: testCommand(19, PASID_TARGET, '6.15'),
  TEST_PASID_DETACH: testCommand(20, { id: field('u32', 8, 'in'), pasid: field('u32', 16, 'in') }, '6.15'),
  TEST_PASID_CHECK_HWPT: testCommand(
    21,
    { id: field('u32', 8, 'in'), pasid: field('u32', 16, 'in'), hwptId: field('u32', 20, 'in') },
    '6.15',
  ),
  TEST_DMABUF_GET: testCommand(
    22,
    { length: field('u32', 16, 'in'), openFlags: field('u32', 20, 'in?') },
    '6.19',
  ),
  TEST_DMABUF_REVOKE: testCommand(
    23,
    { fd: field('s32', 16, 'in'), revoked: field('u32', 20, 'in') },
    '6.19',
  ),
});

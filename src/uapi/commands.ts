/**
 * The commands of the device: request numbers and structs, as C programs have them.
 *
 * Names are the kernel's: `ioasId` is `ioas_id`. This table is the one place that knows the layouts.
 */
import {
  type Answer,
  type Decoded,
  type Encodable,
  type Field,
  type Fields,
  field,
  Struct,
} from './struct.js';

/** A command whose argument is the address of a struct. */
export interface Command<F extends Fields = Fields> {
  /** The request number of ioctl(2). */
  readonly request: number;
  /** Bytes that the caller must at least have. */
  readonly least: number;
  /** What is known of the struct. */
  readonly struct: Struct<F>;
  /** Which of the commands that share a request number, in the field at byte 4. */
  readonly op?: number;
  /** What is written into the struct, which is written back then, also if the command fails. */
  readonly failureAnswer?: Answer<F>;
}

type Sized<F extends Fields> = { readonly size: Field<'u32', 'size'> } & F;

function command<const F extends Fields>(
  request: number,
  lengths: { readonly least: number; readonly known: number },
  fields: F,
  failureAnswer?: Answer<Sized<F>>,
): Command<Sized<F>> {
  const struct = new Struct(lengths.known, { size: field('u32', 0, 'size'), ...fields });
  const row = { request, least: lengths.least, struct };
  return Object.freeze(failureAnswer === undefined ? row : { ...row, failureAnswer });
}

/** Request number of all commands of the test driver. */
export const TEST_REQUEST = 0x3ba0;
const TEST_LENGTHS = { least: 68, known: 72 };

function testCommand<const F extends Fields>(op: number, fields: F): Command<Sized<F>> & { op: number } {
  return Object.freeze({ ...command(TEST_REQUEST, TEST_LENGTHS, fields), op });
}

function vfioCall<const F extends Fields>(
  request: number,
  lengths: { readonly least: number; readonly known: number },
  fields: F,
): Command<{ readonly argsz: Field<'u32', 'size'> } & F> {
  const struct = new Struct(lengths.known, { argsz: field('u32', 0, 'size'), ...fields });
  return Object.freeze({ request, least: lengths.least, struct });
}

const all = (length: number) => ({ least: length, known: length });

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

/** The commands on objects, address spaces and page tables, by name. */
export const IOMMUFD_COMMANDS = Object.freeze({
  DESTROY: command(0x3b80, all(8), {
    id: field('u32', 4, 'in'),
  }),
  IOAS_ALLOC: command(0x3b81, all(12), {
    flags: field('u32', 4, 'in?'),
    outIoasId: field('u32', 8, 'out'),
  }),
  IOAS_ALLOW_IOVAS: command(0x3b82, all(24), {
    ioasId: field('u32', 4, 'in'),
    numIovas: field('u32', 8, 'in'),
    reserved: field('u32', 12, 'reserved'),
    allowedIovas: field('u64', 16, 'in'),
  }),
  IOAS_COPY: command(0x3b83, all(40), {
    flags: field('u32', 4, 'in'),
    dstIoasId: field('u32', 8, 'in'),
    srcIoasId: field('u32', 12, 'in'),
    length: field('u64', 16, 'in'),
    dstIova: field('u64', 24, 'io'),
    srcIova: field('u64', 32, 'in'),
  }),
  IOAS_IOVA_RANGES: command(0x3b84, all(32), {
    ioasId: field('u32', 4, 'in'),
    numIovas: field('u32', 8, 'io'),
    reserved: field('u32', 12, 'reserved'),
    allowedIovas: field('u64', 16, 'in'),
    outIovaAlignment: field('u64', 24, 'out'),
  }),
  IOAS_MAP: command(0x3b85, all(40), {
    flags: field('u32', 4, 'in'),
    ioasId: field('u32', 8, 'in'),
    reserved: field('u32', 12, 'reserved'),
    userVa: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
    iova: field('u64', 32, 'io'),
  }),
  IOAS_UNMAP: command(0x3b86, all(24), {
    ioasId: field('u32', 4, 'in'),
    iova: field('u64', 8, 'in'),
    length: field('u64', 16, 'io'),
  }),
  OPTION: command(0x3b87, all(24), {
    optionId: field('u32', 4, 'in'),
    op: field('u16', 8, 'in'),
    reserved: field('u16', 10, 'reserved'),
    objectId: field('u32', 12, 'in?'),
    val64: field('u64', 16, 'io'),
  }),
  VFIO_IOAS: command(0x3b88, all(12), {
    ioasId: field('u32', 4, 'io'),
    op: field('u16', 8, 'in'),
    reserved: field('u16', 10, 'reserved'),
  }),
  HWPT_ALLOC: command(
    0x3b89,
    { least: 24, known: 48 },
    {
      flags: field('u32', 4, 'in'),
      devId: field('u32', 8, 'in'),
      ptId: field('u32', 12, 'in'),
      outHwptId: field('u32', 16, 'out'),
      reserved: field('u32', 20, 'reserved'),
      dataType: field('u32', 24, 'in?'),
      dataLen: field('u32', 28, 'in?'),
      dataUptr: field('u64', 32, 'in?'),
      faultId: field('u32', 40, 'in?'),
      reserved2: field('u32', 44, 'ignored'),
    },
  ),
  GET_HW_INFO: command(
    0x3b8a,
    { least: 32, known: 40 },
    {
      flags: field('u32', 4, 'reserved'),
      devId: field('u32', 8, 'in'),
      dataLen: field('u32', 12, 'io'),
      dataUptr: field('u64', 16, 'in'),
      outDataType: field('u32', 24, 'out'),
      outMaxPasidLog2: field('u8', 28, 'out'),
      reserved: field('u8', 29, 'reserved', 3),
      outCapabilities: field('u64', 32, 'out'),
    },
  ),
  HWPT_SET_DIRTY_TRACKING: command(0x3b8b, all(16), {
    flags: field('u32', 4, 'in'),
    hwptId: field('u32', 8, 'in'),
    reserved: field('u32', 12, 'ignored'),
  }),
  HWPT_GET_DIRTY_BITMAP: command(0x3b8c, all(48), {
    hwptId: field('u32', 4, 'in'),
    flags: field('u32', 8, 'in?'),
    reserved: field('u32', 12, 'reserved'),
    iova: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
    pageSize: field('u64', 32, 'in'),
    data: field('u64', 40, 'in'),
  }),
  HWPT_INVALIDATE: command(
    0x3b8d,
    all(32),
    {
      hwptId: field('u32', 4, 'in'),
      dataUptr: field('u64', 8, 'in'),
      dataType: field('u32', 16, 'in'),
      entryLen: field('u32', 20, 'in'),
      entryNum: field('u32', 24, 'io'),
      reserved: field('u32', 28, 'reserved'),
    },
    { entryNum: 0 },
  ),
  FAULT_QUEUE_ALLOC: command(0x3b8e, all(16), {
    flags: field('u32', 4, 'in?'),
    outFaultId: field('u32', 8, 'out'),
    outFaultFd: field('u32', 12, 'out'),
  }),
});

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
  TEST_DESTROY_ACCESS_PAGES: testCommand(6, {
    id: field('u32', 8, 'in'),
    accessPagesId: field('u32', 16, 'in'),
  }),
  TEST_ACCESS_PAGES: testCommand(7, {
    id: field('u32', 8, 'in'),
    flags: field('u32', 16, 'in'),
    outAccessPagesId: field('u32', 20, 'out'),
    iova: field('u64', 24, 'in'),
    length: field('u64', 32, 'in'),
    uptr: field('u64', 40, 'in?'),
  }),
  TEST_ACCESS_RW: testCommand(8, {
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
  TEST_ACCESS_REPLACE_IOAS: testCommand(11, {
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
});

/** The VFIO type 1 calls that take a struct, by name. */
export const VFIO_COMMANDS = Object.freeze({
  VFIO_IOMMU_GET_INFO: vfioCall(
    0x3b70,
    { least: 16, known: 24 },
    {
      flags: field('u32', 4, 'out'),
      iovaPgsizes: field('u64', 8, 'out'),
      capOffset: field('u32', 16, 'out'),
      pad: field('u32', 20, 'ignored'),
    },
  ),
  VFIO_IOMMU_MAP_DMA: vfioCall(0x3b71, all(32), {
    flags: field('u32', 4, 'in'),
    vaddr: field('u64', 8, 'in'),
    iova: field('u64', 16, 'in'),
    size: field('u64', 24, 'in'),
  }),
  VFIO_IOMMU_UNMAP_DMA: vfioCall(0x3b72, all(24), {
    flags: field('u32', 4, 'in?'),
    iova: field('u64', 8, 'in'),
    size: field('u64', 16, 'io'),
  }),
});

/** The VFIO type 1 calls whose argument is a plain value, or nothing. */
export const VFIO_REQUEST = Object.freeze({
  GET_API_VERSION: 0x3b64,
  CHECK_EXTENSION: 0x3b65,
  SET_IOMMU: 0x3b66,
} as const);

/** All commands that take a struct, by name. */
export const COMMANDS = Object.freeze({ ...IOMMUFD_COMMANDS, ...TEST_COMMANDS, ...VFIO_COMMANDS });

/** Name of a command that takes a struct. */
export type CommandName = keyof typeof COMMANDS;
/** Name of a command on objects, address spaces or page tables. */
export type IommufdCommandName = keyof typeof IOMMUFD_COMMANDS;
/** Name of an operation of the test driver. */
export type TestCommandName = keyof typeof TEST_COMMANDS;
/** Name of a VFIO type 1 call that takes a struct. */
export type VfioCommandName = keyof typeof VFIO_COMMANDS;

/** The rows of a command's table. */
export type FieldsOf<N extends CommandName> = (typeof COMMANDS)[N]['struct']['fields'];

/** What the struct of a command says. */
export type CommandFields<N extends CommandName> = Decoded<FieldsOf<N>>;

/** What is needed to fill the struct of a command. */
export type CommandInput<N extends CommandName> = Encodable<FieldsOf<N>>;

/** An entry of the arrays of IOAS_IOVA_RANGES and IOAS_ALLOW_IOVAS, and of VFIO's IOVA capability; both ends included. */
export const IOVA_RANGE = new Struct(16, {
  start: field('u64', 0, 'in'),
  last: field('u64', 8, 'in'),
});

const CAPABILITY_HEAD = {
  id: field('u16', 0, 'out'),
  version: field('u16', 2, 'out'),
  /** Offset of the next capability from the start of the answer; 0 in the last. */
  next: field('u32', 4, 'out'),
} as const;

/** The head that all of VFIO's capabilities have. */
export const VFIO_CAPABILITY = new Struct(8, { ...CAPABILITY_HEAD });

/** VFIO's capability of available mappings. */
export const VFIO_CAPABILITY_DMA_AVAIL = new Struct(12, {
  ...CAPABILITY_HEAD,
  available: field('u32', 8, 'out'),
});

/** The head of VFIO's capability of usable IOVA; `IOVA_RANGE` entries follow. */
export const VFIO_CAPABILITY_IOVA_RANGES = new Struct(16, {
  ...CAPABILITY_HEAD,
  count: field('u32', 8, 'out'),
  reserved: field('u32', 12, 'ignored'),
});

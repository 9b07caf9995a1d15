/** Requests like those that programs send, and like those that broken or hostile programs send. */
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import {
  COMMANDS,
  type CommandInput,
  type CommandName,
  encode,
  encodeRanges,
  type Field,
  type Fields,
  VFIO_REQUEST,
} from '../../src/uapi/index.js';
import { BIG, PAGE, RAM, RAM_PAGES, ROM, ROM_PAGES, ROOM, ROOM_PAGES, TOP } from './processes.js';
import type { Random } from './random.js';

/** A request as it is sent. */
export interface FuzzedRequest {
  /** Which command it was made from. */
  readonly name: CommandName | 'value' | 'noise';
  readonly request: number;
  readonly argument: bigint;
  /** What is at the address that the argument is. */
  readonly bytes: Uint8Array | undefined;
  /** What is at other addresses. */
  readonly data: readonly { readonly address: bigint; readonly bytes: Uint8Array }[];
}

/** What earlier calls gave, by what it is. */
export interface Known {
  readonly ioas: number[];
  readonly hwpts: number[];
  /** Those that may become the parents of others. */
  readonly parents: number[];
  readonly viommus: number[];
  readonly devices: number[];
  readonly testDevices: number[];
  readonly files: number[];
  /** What was mapped at some time. */
  readonly areas: {
    readonly ioas: number;
    readonly iova: bigint;
    readonly length: bigint;
    readonly uptr: bigint;
  }[];
  /** The device without IOMMU that was bound last. */
  noIommu: BoundDevice | undefined;
}

const MAX = 2n ** 64n - 1n;
/** What the test driver calls its virtual IOMMUs and queues. */
const MOCK_TYPE = 0xdead_beef;
const APERTURE = 0x100_0000n;
const NAMES = Object.keys(COMMANDS) as CommandName[];
/** Commands that make what others need, or change most. */
const FREQUENT: readonly CommandName[] = [
  'IOAS_ALLOC',
  'IOAS_MAP',
  'IOAS_MAP',
  'IOAS_MAP',
  'IOAS_UNMAP',
  'IOAS_COPY',
  'IOAS_COPY',
  'HWPT_ALLOC',
  'TEST_MOCK_DOMAIN_FLAGS',
  'TEST_CREATE_ACCESS',
  'TEST_ACCESS_PAGES',
  'TEST_ACCESS_PAGES',
  'TEST_ACCESS_RW',
  'IOAS_MAP_FILE',
  'IOAS_MAP_FILE',
  'VIOMMU_ALLOC',
  'HW_QUEUE_ALLOC',
  'IOAS_NOIOMMU_GET_PA',
  'IOAS_CHANGE_PROCESS',
  'TEST_MOCK_DOMAIN_REPLACE',
  'TEST_DIRTY',
  'HWPT_SET_DIRTY_TRACKING',
  'HWPT_GET_DIRTY_BITMAP',
  'VFIO_IOAS',
  'VFIO_IOMMU_MAP_DMA',
  'VFIO_IOMMU_UNMAP_DMA',
];

/** Makes a request. Its struct lies in slot `slot` of the room if nothing is wrong with its address. */
export function fuzzedRequest(random: Random, known: Known, slot: number): FuzzedRequest {
  if (random.chance(2)) return noise(random);
  if (random.chance(3)) return valueCall(random);
  const name = random.one(random.chance(75) ? FREQUENT : NAMES);
  const fields: Record<string, number | bigint> = {};
  const data: { address: bigint; bytes: Uint8Array }[] = [];
  for (const [field, row] of meaningful(name)) fields[field] = fieldValue(name, field, row, random, known);
  if (known.areas.length > 0 && random.chance(60)) aim(name, fields, random, known);
  addArrays(name, fields, random, data);
  const bytes = mutated(encode(name, fields as CommandInput<typeof name>), name, random);
  const plain = COMMANDS[name].request;
  const request = random.chance(1) ? (plain ^ (1 << random.below(32))) >>> 0 : plain;
  return { name, request, argument: structAddress(random, slot, bytes.length), bytes, data };
}

function meaningful(name: CommandName): [string, Field][] {
  const fields: Fields = COMMANDS[name].struct.fields;
  return Object.entries(fields).filter(([, { use }]) => !['size', 'reserved', 'ignored'].includes(use));
}

function noise(random: Random): FuzzedRequest {
  const request = random.chance(50) ? random.u32() : 0x3b00 | random.below(256);
  const bytes = Uint8Array.from({ length: 80 }, () => (random.chance(50) ? 0 : random.below(256)));
  const argument = random.chance(50) ? ROOM : random.u64();
  return { name: 'noise', request, argument, bytes, data: [] };
}

function valueCall(random: Random): FuzzedRequest {
  const request = random.one(Object.values(VFIO_REQUEST));
  const argument = random.chance(90) ? BigInt(random.below(12)) : random.u64();
  return { name: 'value', request, argument, bytes: undefined, data: [] };
}

/** Where a struct lies: mostly in its slot. */
function structAddress(random: Random, slot: number, length: number): bigint {
  if (random.chance(95)) return ROOM + BigInt(slot) * 0x200n;
  const end = ROOM + ROOM_PAGES * PAGE;
  return random.one([
    0n,
    end - BigInt(random.below(length + 2)),
    ROM - BigInt(random.below(length + 2)),
    ROM + BigInt(random.below(64)),
    RAM + BigInt(random.below(0x2000)),
    BIG + BigInt(random.below(0x2000)),
    TOP + 0x3000n - BigInt(random.below(length + 2)),
    MAX - BigInt(random.below(80)),
    ROOM - BigInt(random.below(8)),
    random.u64(),
  ]);
}

/** A value that a field might have. */
function fieldValue(
  name: string,
  field: string,
  { type }: Field,
  random: Random,
  known: Known,
): number | bigint {
  if (random.chance(1)) return type === 'u64' ? random.u64() : cut(random.u32(), type);
  if (random.chance(1)) return type === 'u64' ? MAX : cut(0xffff_ffff, type);
  switch (field) {
    case 'id':
      return idFor(name, random, known);
    case 'ioasId':
    case 'dstIoasId':
    case 'srcIoasId':
    case 'objectId':
      return oneOf(known.ioas, random);
    case 'ptId':
      return oneOf(random.chance(70) ? known.ioas : known.hwpts, random);
    case 'hwptId':
      return oneOf(name === 'VIOMMU_ALLOC' ? known.parents : known.hwpts, random);
    case 'viommuId':
      return oneOf(known.viommus, random);
    case 'fd':
      return random.below(9) - 1;
    case 'type':
      return random.one([MOCK_TYPE, MOCK_TYPE, MOCK_TYPE, 0, 1]);
    case 'cache':
      return random.one([0xba_ddad, 0]);
    case 'dataType':
      return random.one([0, 0, 0, 0xdead, 7]);
    case 'devId':
      return oneOf(known.devices, random);
    case 'userVa':
    case 'vaddr':
    case 'uptr':
      return userAddress(random);
    case 'allowedIovas':
    case 'data':
    case 'dataUptr':
      return random.chance(70) ? ROOM + 0x8000n + BigInt(random.below(0x1000)) : userAddress(random);
    case 'iova':
    case 'nestingParentIova':
    case 'dstIova':
    case 'srcIova':
    case 'start':
      return name === 'IOAS_MAP_FILE' ? BigInt(random.below(0x1_2000)) & -0x800n : iova(random);
    case 'length':
    case 'size':
      return type === 'u64' ? length(random) : Number(length(random) & 0x3f_ffffn);
    case 'pageSize':
      return random.one([2048n, 2048n, 2048n, 4096n, 1024n, 1n, 0n, 3000n, 0x10_0000n, 1n << 63n]);
    case 'val64':
      return BigInt(random.below(3));
    case 'flags':
      return flagsFor(name, random);
    case 'numIovas':
      return random.one([0, 1, 2, 3, 8, 300, 5000]);
    case 'argsz':
      return random.below(200);
    case 'accessPagesId':
      return random.below(4);
    case 'refs':
      return random.below(4);
    case 'limit':
      return random.one([0, 11, 12, 24, 65_536]);
    case 'entryLen':
    case 'dataLen':
      return random.one([0, 0, 0, 4, 8, 16, 100, 70_000]);
    default:
      return type === 'u64' ? BigInt(random.below(4)) : random.below(4);
  }
}

function flagsFor(name: string, random: Random): number {
  switch (name) {
    case 'IOAS_MAP':
    case 'IOAS_MAP_FILE':
    case 'IOAS_COPY':
      return random.one([7, 7, 7, 6, 5, 3, 4, random.below(16)]);
    case 'VFIO_IOMMU_MAP_DMA':
      return random.one([3, 3, 1, 2, random.below(8)]);
    case 'VFIO_IOMMU_UNMAP_DMA':
      return random.one([0, 0, 0, 2, random.below(8)]);
    case 'TEST_ACCESS_RW':
      return random.one([0, 1, 4, 5, random.below(16)]);
    case 'HWPT_ALLOC':
      return random.one([0, 2, 2, 1, 1, 3, 8, random.below(32)]);
    case 'HWPT_SET_DIRTY_TRACKING':
      return random.one([1, 1, 1, 0, random.below(4)]);
    default:
      return random.one([0, 0, 0, 1, 1, random.below(16)]);
  }
}

function idFor(name: string, random: Random, known: Known): number {
  switch (name) {
    case 'TEST_DESTROY_ACCESS_PAGES':
    case 'TEST_ACCESS_PAGES':
    case 'TEST_ACCESS_RW':
    case 'TEST_ACCESS_REPLACE_IOAS':
      return oneOf(known.files, random);
    case 'TEST_DEV_CHECK_CACHE':
      return oneOf(known.devices, random);
    case 'TEST_PASID_ATTACH':
    case 'TEST_PASID_REPLACE':
    case 'TEST_PASID_DETACH':
    case 'TEST_PASID_CHECK_HWPT':
    case 'TEST_MOCK_DOMAIN_REPLACE':
      return oneOf(known.testDevices, random);
    case 'TEST_MD_CHECK_MAP':
    case 'TEST_DIRTY':
      return oneOf(known.hwpts, random);
    case 'TEST_MOCK_DOMAIN':
    case 'TEST_MOCK_DOMAIN_FLAGS':
      return oneOf(random.chance(80) ? known.ioas : known.hwpts, random);
    case 'DESTROY':
      return random.below(20);
    default:
      return oneOf(known.ioas, random);
  }
}

/** The latest ones are the likeliest to exist still. */
function oneOf(ids: readonly number[], random: Random): number {
  if (ids.length === 0 || random.chance(4)) return random.below(14);
  return random.one(ids.slice(-3));
}

function userAddress(random: Random): bigint {
  const page = RAM + BigInt(random.below(Number(RAM_PAGES))) * PAGE;
  if (random.chance(60)) return page;
  return random.one([
    page + 0x800n,
    page + BigInt(random.below(4096)),
    ROM + BigInt(random.below(Number(ROM_PAGES))) * PAGE,
    ROM - PAGE,
    BIG + BigInt(random.below(4)) * 0x10_0000n,
    BIG,
    ROOM + BigInt(random.below(Number(ROOM_PAGES))) * PAGE,
    ROOM + ROOM_PAGES * PAGE - BigInt(random.below(64)),
    TOP + BigInt(random.below(4)) * PAGE,
    MAX - BigInt(random.below(0x3000)),
    0n,
    0x7fff_ffff_f000n,
    1n << 63n,
    random.u64(),
  ]);
}

function iova(random: Random): bigint {
  const page = APERTURE + BigInt(random.below(24)) * PAGE;
  if (random.chance(70)) return page;
  return random.one([
    page + 0x800n,
    page + BigInt(random.below(4096)),
    2n * APERTURE,
    2n * APERTURE + 0x10_0000n,
    0x7fff_f000n,
    0x7fff_ffffn,
    0n,
    0x1000n,
    MAX - BigInt(random.below(0x3000)),
    1n << 63n,
    random.u64(),
  ]);
}

function length(random: Random): bigint {
  if (random.chance(75)) return BigInt(1 + random.below(8)) * PAGE;
  return random.one([
    0n,
    1n,
    0x800n,
    0x1800n,
    BigInt(random.below(0x8000)),
    0x10_0000n,
    0x20_0000n,
    0x100_0000n,
    0x100_0001n,
    1n << 31n,
    1n << 63n,
    MAX - 1n,
    MAX,
    random.u64(),
  ]);
}

/** Lets a request be about something that was mapped. */
function aim(name: CommandName, fields: Record<string, number | bigint>, random: Random, known: Known): void {
  const area = random.one(known.areas.slice(-5));
  const part = random.chance(70) ? area.length : BigInt(1 + random.below(2)) * 0x800n;
  switch (name) {
    case 'IOAS_COPY':
      Object.assign(fields, { srcIoasId: area.ioas, srcIova: area.iova, length: part });
      break;
    case 'IOAS_UNMAP':
      Object.assign(fields, { ioasId: area.ioas, iova: area.iova, length: part });
      break;
    case 'TEST_ACCESS_PAGES':
      Object.assign(fields, { iova: area.iova, length: part, uptr: random.one([0n, 0n, area.uptr]) });
      break;
    case 'TEST_MD_CHECK_MAP':
      Object.assign(fields, { iova: area.iova, length: part, uptr: area.uptr });
      break;
    case 'TEST_ACCESS_RW':
    case 'TEST_DIRTY':
    case 'HWPT_GET_DIRTY_BITMAP':
      Object.assign(fields, { iova: area.iova, length: part });
      break;
    case 'IOAS_NOIOMMU_GET_PA':
      Object.assign(fields, { ioasId: area.ioas, iova: area.iova + BigInt(random.below(2)), length: part });
      break;
    case 'HW_QUEUE_ALLOC':
      Object.assign(fields, { nestingParentIova: area.iova, length: random.one([PAGE, 8n, part]) });
      break;
    case 'VFIO_IOMMU_UNMAP_DMA':
      Object.assign(fields, { iova: area.iova, size: part });
      break;
  }
}

/** Arrays and bitmaps that a command points at. */
function addArrays(
  name: CommandName,
  fields: Record<string, number | bigint>,
  random: Random,
  data: { address: bigint; bytes: Uint8Array }[],
): void {
  const room = ROOM + 0x8000n + BigInt(random.below(8));
  if (name === 'IOAS_ALLOW_IOVAS' && random.chance(80)) {
    const count = random.below(4);
    const start = BigInt(random.below(4)) * APERTURE;
    const ranges = Array.from({ length: count }, (_, at) => {
      const first = start + BigInt(at) * APERTURE;
      return { start: first, last: first + random.one([APERTURE - 1n, APERTURE, 0n, 0xfffn]) };
    });
    fields.numIovas = count;
    fields.allowedIovas = room;
    data.push({ address: room, bytes: encodeRanges(ranges) });
  }
  if (name === 'TEST_DIRTY' || name === 'TEST_ACCESS_RW') {
    if (random.chance(80)) fields.uptr = room;
    data.push({ address: room, bytes: Uint8Array.from({ length: 16 }, () => random.below(256)) });
  }
}

/** Damages a struct now and then. */
function mutated(bytes: Uint8Array, name: CommandName, random: Random): Uint8Array {
  const { least, struct } = COMMANDS[name];
  let changed = bytes;
  if (random.chance(4)) {
    const longer = new Uint8Array(struct.length + random.below(200));
    longer.set(bytes.subarray(0, longer.length));
    if (random.chance(40)) longer[random.below(longer.length)] = random.below(256);
    changed = longer;
    setSize(changed, changed.length);
  }
  if (random.chance(2)) {
    setSize(
      changed,
      random.one([
        0,
        3,
        4,
        least - 1,
        least,
        struct.length - 1,
        struct.length + 8,
        5000,
        0x10_0000,
        0xffff_ffff,
      ]),
    );
  }
  if (random.chance(4)) {
    for (let count = 1 + random.below(3); count > 0; count--) {
      changed[random.below(changed.length)] = random.below(256);
    }
  }
  return changed;
}

function setSize(bytes: Uint8Array, size: number): void {
  for (let at = 0; at < 4; at++) bytes[at] = size >>> (8 * at);
}

function cut(value: number, type: string): number {
  if (type === 's32') return value | 0;
  if (type === 'u8') return value & 0xff;
  return type === 'u16' ? value & 0xffff : value;
}

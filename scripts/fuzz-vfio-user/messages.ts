/** Random messages of a hostile client: right ones, and such that are nearly right. */
import { headerOf } from '../../src/vfio-user/client-requests.js';
import {
  COMMAND,
  DEVICE_FEATURE,
  DEVICE_INFO,
  DMA_MAP,
  DMA_UNMAP,
  FEATURE_MIG_STATE,
  HEADER_SIZE,
  IRQ_INFO,
  IRQ_SET,
  LOGGING_RANGE,
  LOGGING_REPORT,
  LOGGING_START,
  MIG_DATA,
  MULTI_WRITE,
  REGION_ACCESS,
  REGION_INFO,
  REGION_IO_FDS,
  VERSION,
  WRITE_MULTI,
} from '../../src/vfio-user/protocol.js';
import type { Random } from '../fuzz-uapi/random.js';

/** A message, and how many descriptors go with it. */
export interface HostileMessage {
  readonly bytes: Uint8Array;
  readonly descriptors: number;
}

const LARGE = [
  0n,
  1n,
  0xfffn,
  0x1001n,
  0x7fff_ffffn,
  0xfee0_0000n,
  0xffff_ffffn,
  2n ** 32n,
  2n ** 47n,
  2n ** 52n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
];
const COUNTS = [0, 1, 2, 3, 4, 5, 8, 9, 16, 64, 256, 4096, 4097, 2 ** 20, 2 ** 20 + 1, 2 ** 31, 2 ** 32 - 1];
const FEATURES = [0, 1, 2, 3, 6, 7, 8, 99];
const COMMANDS = [...Object.values(COMMAND), 0, 14, 255, 65_535];
const FLAGS = [0, 0, 0, 0, 0, 0, 0x10, 0x10, 0x10, 0x20, 0xffff_ffe0];
/** Flags of what is no command, or a reply that nobody waits for: they end the connection. */
const WRONG_FLAGS = [1, 2, 0x21, 0xf];

/** Texts of a VERSION. */
export const TEXTS = [
  '{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576}}\0',
  '{"capabilities":{"max_data_xfer_size":NaN}}\0',
  '{"capabilities":{"max_data_xfer_size":1e999}}\0',
  '{"capabilities":{"max_data_xfer_size":-1}}\0',
  '{"capabilities":{"max_data_xfer_size":1}}\0',
  '{"capabilities":null,"__proto__":{"max_data_xfer_size":1}}\0',
  '[]\0',
  '\0',
  '',
  '{"capabilities":{}}',
  `${'['.repeat(5000)}\0`,
];

/** A VERSION with a text. */
export function versionOf(text: string, major = 0): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  const header = headerOf(0, COMMAND.VERSION, VERSION.length + bytes.length, 0);
  return Buffer.concat([header, VERSION.encode({ major, minor: 0 }), bytes]);
}

/** A random message. */
export function randomMessage(random: Random): HostileMessage {
  const command = random.one(COMMANDS);
  const flags = random.chance(0.2) ? random.one(WRONG_FLAGS) : random.one(FLAGS);
  let payload = payloadOf(command, random);
  if (random.chance(8)) payload = mutated(payload, random);
  const bytes = Buffer.concat([headerOf(random.below(2 ** 16), command, payload.length, flags), payload]);
  // A wrong size ends the connection, or eats the messages behind.
  if (random.chance(0.3)) bytes.writeUInt32LE(random.one([...COUNTS, bytes.length - 1]), 4);
  const takes = command === COMMAND.DMA_MAP || command === COMMAND.DEVICE_SET_IRQS;
  return { bytes, descriptors: random.chance(takes ? 50 : 2) ? 1 + random.below(3) : 0 };
}

function mutated(payload: Uint8Array, random: Random): Uint8Array {
  const bytes = Uint8Array.from(payload.subarray(0, random.below(payload.length + 1)));
  if (bytes.length > 0 && random.chance(50)) bytes[random.below(bytes.length)] = random.below(256);
  return random.chance(30) ? Buffer.concat([bytes, new Uint8Array(random.below(64))]) : bytes;
}

function argszOf(length: number, random: Random): number {
  return random.chance(90) ? length : random.one(COUNTS);
}

function addressOf(random: Random): bigint {
  return random.chance(85) ? BigInt(random.below(64)) * 4096n : random.one(LARGE);
}

function sizeOf(random: Random): bigint {
  return random.chance(80) ? BigInt(1 + random.below(8)) * 4096n : random.one(LARGE);
}

function countOf(random: Random): number {
  return random.chance(80) ? random.one([1, 2, 4, 8]) : random.one(COUNTS);
}

function offsetOf(random: Random): bigint {
  return random.chance(80) ? BigInt(random.below(64) * 4) : addressOf(random);
}

function dataOf(count: number, random: Random): Uint8Array {
  const length = random.chance(95) ? Math.min(count, 4096) : random.below(64);
  return Uint8Array.from({ length }, () => random.below(256));
}

function regionOf(random: Random): number {
  return random.chance(90) ? random.below(9) : random.one(COUNTS);
}

function payloadOf(command: number, random: Random): Uint8Array {
  switch (command) {
    case COMMAND.VERSION:
      return versionOf(random.one(TEXTS), random.below(2)).subarray(HEADER_SIZE);
    case COMMAND.DMA_MAP: {
      const flags = random.chance(90) ? random.below(4) : random.one(COUNTS);
      const sizes = { offset: random.chance(70) ? 0n : addressOf(random), size: sizeOf(random) };
      return DMA_MAP.encode({ argsz: argszOf(32, random), flags, address: addressOf(random), ...sizes });
    }
    case COMMAND.DMA_UNMAP: {
      const flags = random.chance(95) ? 0 : random.below(8);
      const argsz = argszOf(24, random);
      return DMA_UNMAP.encode({ argsz, flags, address: addressOf(random), size: sizeOf(random) });
    }
    case COMMAND.DEVICE_GET_INFO:
      return DEVICE_INFO.encode({ argsz: argszOf(16, random) });
    case COMMAND.DEVICE_GET_REGION_INFO:
      return REGION_INFO.encode({ argsz: argszOf(random.one([32, 80]), random), index: regionOf(random) });
    case COMMAND.DEVICE_GET_REGION_IO_FDS:
      return REGION_IO_FDS.encode({ argsz: argszOf(16, random), index: regionOf(random) });
    case COMMAND.DEVICE_GET_IRQ_INFO:
      return IRQ_INFO.encode({ argsz: argszOf(16, random), index: random.below(7) });
    case COMMAND.DEVICE_SET_IRQS:
      return irqsOf(random);
    case COMMAND.REGION_READ:
    case COMMAND.REGION_WRITE: {
      const count = countOf(random);
      const access = REGION_ACCESS.encode({ offset: offsetOf(random), region: regionOf(random), count });
      return command === COMMAND.REGION_READ ? access : Buffer.concat([access, dataOf(count, random)]);
    }
    case COMMAND.REGION_WRITE_MULTI:
      return writesOf(random);
    case COMMAND.DEVICE_FEATURE:
      return featureOf(random);
    case COMMAND.MIG_DATA_READ:
    case COMMAND.MIG_DATA_WRITE: {
      const size = countOf(random);
      const head = MIG_DATA.encode({ argsz: argszOf(8 + Math.min(size, 2 ** 20), random), size });
      return command === COMMAND.MIG_DATA_READ ? head : Buffer.concat([head, dataOf(size, random)]);
    }
    default:
      return dataOf(random.below(64), random);
  }
}

function irqsOf(random: Random): Uint8Array {
  const flags = random.chance(80) ? random.one([0x24, 0x21, 0x22, 0x11, 0x9]) : random.below(256);
  const count = random.chance(80) ? random.below(4) : random.one(COUNTS);
  const start = random.chance(90) ? random.below(3) : random.one(COUNTS);
  const set = IRQ_SET.encode({ argsz: argszOf(20, random), flags, index: random.below(6), start, count });
  return (flags & 2) === 0 ? set : Buffer.concat([set, dataOf(count, random)]);
}

function writesOf(random: Random): Uint8Array {
  const writes = random.below(20);
  const count = random.chance(90) ? BigInt(writes) : random.one(LARGE);
  const parts = Array.from({ length: writes }, () =>
    MULTI_WRITE.encode({
      offset: offsetOf(random),
      region: regionOf(random),
      count: countOf(random),
      data: BigInt(random.u32()),
    }),
  );
  return Buffer.concat([WRITE_MULTI.encode({ count }), ...parts]);
}

function featureOf(random: Random): Uint8Array {
  const kind = random.one([0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x5_0000, 0, 0x7ff0_0000]);
  const feature = random.one(FEATURES);
  const data = featureData(feature, random);
  const head = DEVICE_FEATURE.encode({ argsz: argszOf(8 + data.length + 64, random), flags: kind | feature });
  return Buffer.concat([head, data]);
}

function featureData(feature: number, random: Random): Uint8Array {
  const pageSize = random.chance(90) ? 4096n : random.one(LARGE);
  switch (feature) {
    case 2:
      return FEATURE_MIG_STATE.encode({ state: random.below(9) });
    case 6: {
      const ranges = random.below(4);
      const numRanges = random.chance(90) ? ranges : random.one(COUNTS);
      const list = Array.from({ length: ranges }, () =>
        LOGGING_RANGE.encode({ iova: addressOf(random), length: sizeOf(random) }),
      );
      return Buffer.concat([LOGGING_START.encode({ pageSize, numRanges }), ...list]);
    }
    case 8:
      return LOGGING_REPORT.encode({ iova: addressOf(random), length: sizeOf(random), pageSize });
    default:
      return new Uint8Array(random.below(24));
  }
}

/** What the controller says of itself: the answers to Identify. */

/** Bytes of a block. */
export const BLOCK_SIZE = 512;
const BLOCK_SHIFT = 9;
export const VERSION = 0x00010400;
/** The largest transfer of one command is 2^5 pages: 128 KiB. */
export const MAX_TRANSFER_SHIFT = 5;
const STRUCT_SIZE = 4096;
export const NAMESPACE = 1;

/** What is identified, by the number of Identify's CNS field. */
export function identify(what: number, blocks: number): Uint8Array | undefined {
  switch (what) {
    case 0:
      return namespace(blocks);
    case 1:
      return controller();
    case 2:
      return namespaceList();
    case 3:
      return namespaceNames();
    default:
      return undefined;
  }
}

function controller(): Uint8Array {
  const bytes = Buffer.alloc(STRUCT_SIZE);
  bytes.writeUInt16LE(0x1b36, 0); // vendor
  bytes.write('io-pagetable'.padEnd(20), 4); // serial number
  bytes.write('NVMe in TypeScript'.padEnd(40), 24); // model
  bytes.write('1'.padEnd(8), 64); // firmware
  bytes.writeUInt8(MAX_TRANSFER_SHIFT, 77);
  bytes.writeUInt32LE(VERSION, 80);
  bytes.writeUInt8(1, 111); // an I/O controller
  bytes.writeUInt8(0x66, 512); // submissions of 64 bytes
  bytes.writeUInt8(0x44, 513); // completions of 16 bytes
  bytes.writeUInt32LE(1, 516); // namespaces
  bytes.writeUInt8(1, 525); // there is a write cache, so flushes mean something
  bytes.write('nqn.2014-08.org.nvmexpress:uuid:2f1b4a5c-7d52-4d6e-8b0e-696f2d706167', 768);
  return bytes;
}

function namespace(blocks: number): Uint8Array {
  const bytes = Buffer.alloc(STRUCT_SIZE);
  for (const offset of [0, 8, 16]) bytes.writeBigUInt64LE(BigInt(blocks), offset); // size, capacity, use
  bytes.writeUInt8(BLOCK_SHIFT, 130); // of the only format
  return bytes;
}

function namespaceList(): Uint8Array {
  const bytes = Buffer.alloc(STRUCT_SIZE);
  bytes.writeUInt32LE(NAMESPACE, 0);
  return bytes;
}

function namespaceNames(): Uint8Array {
  const bytes = Buffer.alloc(STRUCT_SIZE);
  bytes.writeUInt8(3, 0); // a UUID
  bytes.writeUInt8(16, 1);
  bytes.write('2f1b4a5c7d524d6e8b0e696f2d706174', 4, 'hex');
  return bytes;
}

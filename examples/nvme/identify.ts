/** What the controller and its namespace say of themselves. */
import { BLOCK_SIZE } from './protocol.js';

/** A transfer has at most 2 to this power pages: 128 KiB. */
export const MAX_TRANSFER_SHIFT = 5;

const NAME = 'io-pagetable NVMe';
const SERIAL = 'IOPT0001';
const QUALIFIED_NAME = 'nqn.2014-08.org.nvmexpress:uuid:696f7074-0000-4000-8000-000000000001';
const UNIQUE_ID = Uint8Array.from({ length: 8 }, (_, at) => 0x10 + at);

/** The controller. */
export function identifyController(): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x1b36, true);
  view.setUint16(2, 0x1af4, true);
  text(bytes, 4, 20, SERIAL);
  text(bytes, 24, 40, NAME);
  text(bytes, 64, 8, '1.0');
  bytes[77] = MAX_TRANSFER_SHIFT;
  view.setUint32(80, 0x0001_0400, true);
  // Four asynchronous events may be asked for; one firmware slot, which is read-only.
  bytes[259] = 3;
  bytes[260] = 3;
  bytes[512] = 0x66;
  bytes[513] = 0x44;
  view.setUint32(516, 1, true);
  // WRITE ZEROES, and a write cache that is flushed.
  view.setUint16(520, 8, true);
  bytes[525] = 1;
  text(bytes, 768, QUALIFIED_NAME.length, QUALIFIED_NAME);
  return bytes;
}

/** The namespace. */
export function identifyNamespace(size: number): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  const blocks = BigInt(Math.floor(size / BLOCK_SIZE));
  for (const at of [0, 8, 16]) view.setBigUint64(at, blocks, true);
  bytes.set(UNIQUE_ID, 120);
  bytes[130] = Math.log2(BLOCK_SIZE);
  return bytes;
}

/** The numbers of all namespaces above one. */
export function namespaceList(above: number): Uint8Array {
  const bytes = new Uint8Array(4096);
  if (above < 1) bytes[0] = 1;
  return bytes;
}

/** What the namespace is known by: a 64-bit identifier. */
export function namespaceDescriptors(): Uint8Array {
  const bytes = new Uint8Array(4096);
  bytes[0] = 1;
  bytes[1] = UNIQUE_ID.length;
  bytes.set(UNIQUE_ID, 4);
  return bytes;
}

function text(bytes: Uint8Array, at: number, length: number, value: string): void {
  bytes.fill(0x20, at, at + length);
  bytes.set(new TextEncoder().encode(value), at);
}

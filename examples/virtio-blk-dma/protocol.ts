/**
 * The binary layout of virtio-blk requests (virtio 1.2, section 5.2.6). Little endian.
 */

export const RequestType = { IN: 0, OUT: 1, FLUSH: 4 } as const;
export const Status = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

export const SECTOR_SIZE = 512;
/** Type, a reserved field, and the first sector. */
export const HEADER_SIZE = 16;

/** The header of a request. */
export function encodeHeader(type: number, sector: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(HEADER_SIZE));
  view.setUint32(0, type, true);
  view.setBigUint64(8, sector, true);
  return new Uint8Array(view.buffer);
}

/** What NVM Express says: registers, commands and status codes, as far as the controller has them. */

export const REGISTER = Object.freeze({
  CAP: 0x00,
  VS: 0x08,
  INTMS: 0x0c,
  INTMC: 0x10,
  CC: 0x14,
  CSTS: 0x1c,
  AQA: 0x24,
  ASQ: 0x28,
  ACQ: 0x30,
  DOORBELLS: 0x1000,
});

export const ADMIN = Object.freeze({
  DELETE_SQ: 0x00,
  CREATE_SQ: 0x01,
  GET_LOG_PAGE: 0x02,
  DELETE_CQ: 0x04,
  CREATE_CQ: 0x05,
  IDENTIFY: 0x06,
  ABORT: 0x08,
  SET_FEATURES: 0x09,
  GET_FEATURES: 0x0a,
  ASYNC_EVENT_REQUEST: 0x0c,
});

export const IO = Object.freeze({ FLUSH: 0x00, WRITE: 0x01, READ: 0x02, WRITE_ZEROES: 0x08 });

/** Status codes, with their type above bit 8. */
export const STATUS = Object.freeze({
  SUCCESS: 0x000,
  INVALID_OPCODE: 0x001,
  INVALID_FIELD: 0x002,
  DATA_TRANSFER_ERROR: 0x004,
  INTERNAL_ERROR: 0x006,
  INVALID_NAMESPACE: 0x00b,
  LBA_OUT_OF_RANGE: 0x080,
  INVALID_CQ: 0x100,
  INVALID_QUEUE: 0x101,
  INVALID_QUEUE_SIZE: 0x102,
  ASYNC_LIMIT: 0x105,
  INVALID_VECTOR: 0x108,
  INVALID_LOG_PAGE: 0x109,
});

export const FEATURE_QUEUES = 0x07;

export const SQE_SIZE = 64;
export const CQE_SIZE = 16;
export const BLOCK_SIZE = 512;
export const PAGE_SIZE = 4096;

/** A command, as it lies in a submission queue. */
export interface NvmeCommand {
  readonly opcode: number;
  readonly id: number;
  readonly namespace: number;
  readonly prp1: bigint;
  readonly prp2: bigint;
  /** Command dwords 10 to 15. */
  readonly words: readonly number[];
}

/** Reads a command. */
export function decodeCommand(bytes: Uint8Array): NvmeCommand {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SQE_SIZE);
  return {
    opcode: view.getUint8(0),
    id: view.getUint16(2, true),
    namespace: view.getUint32(4, true),
    prp1: view.getBigUint64(24, true),
    prp2: view.getBigUint64(32, true),
    words: Array.from({ length: 6 }, (_, at) => view.getUint32(40 + 4 * at, true)),
  };
}

/** A command that fails: its status. */
export class NvmeError extends Error {
  constructor(readonly status: number) {
    super(`NVMe status 0x${status.toString(16)}`);
  }
}

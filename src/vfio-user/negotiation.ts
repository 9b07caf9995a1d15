/** VERSION: what both sides can do. */
import { refuse } from '../errors.js';
import { MAX_BITMAP_SIZE, MAX_DMA_MAPS } from './client-dma.js';
import { MAX_DATA_XFER_SIZE, VERSION } from './protocol.js';

const MAJOR = 0;
/** The newest minor version whose commands are known. */
const MINOR = 2;
/** The most descriptors of one message: as many as any client is known to take. */
export const MAX_MSG_FDS = 16;

/** What a client can do. */
export interface ClientLimits {
  /** Bytes that it lets a command of the server move. */
  readonly maxDataXferSize: number;
}

/** What a server says in its VERSION. */
const CAPABILITIES = {
  capabilities: {
    max_msg_fds: MAX_MSG_FDS,
    max_dma_maps: MAX_DMA_MAPS,
    max_data_xfer_size: MAX_DATA_XFER_SIZE,
    pgsizes: 4096,
    migration: { pgsize: 4096, max_bitmap_size: MAX_BITMAP_SIZE },
    write_multiple: true,
  },
};

/** Reads a client's VERSION. @throws EINVAL if it is none, or of a version that is not known */
export function readVersion(payload: Uint8Array): { readonly minor: number; readonly limits: ClientLimits } {
  if (payload.length < VERSION.length) throw refuse('EINVAL', 'argument', 'a VERSION of no version');
  const { major, minor } = VERSION.decode(payload);
  if (major !== MAJOR) throw refuse('EINVAL', 'unsupported', `version ${major}.${minor} is not ${MAJOR}.x`);
  return { minor: Math.min(minor, MINOR), limits: limitsOf(jsonOf(payload.subarray(VERSION.length))) };
}

/** The payload of the answer to a VERSION. */
export function encodeVersion(minor: number): Uint8Array {
  const json = new TextEncoder().encode(`${JSON.stringify(CAPABILITIES)}\0`);
  const bytes = new Uint8Array(VERSION.length + json.length);
  VERSION.write(bytes, { major: MAJOR, minor });
  bytes.set(json, VERSION.length);
  return bytes;
}

function jsonOf(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return {};
  if (bytes.indexOf(0) !== bytes.length - 1) {
    throw refuse('EINVAL', 'argument', 'the text of a VERSION does not end with its only NUL');
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, -1)));
  } catch {
    throw refuse('EINVAL', 'argument', 'the text of a VERSION is no JSON');
  }
}

function limitsOf(json: unknown): ClientLimits {
  const capabilities = member(objectOf(json, 'the text of a VERSION'), 'capabilities') ?? {};
  const size = member(objectOf(capabilities, 'capabilities'), 'max_data_xfer_size') ?? MAX_DATA_XFER_SIZE;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 1) {
    throw refuse('EINVAL', 'argument', 'max_data_xfer_size is no number of bytes');
  }
  return { maxDataXferSize: size };
}

function objectOf(value: unknown, what: string): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw refuse('EINVAL', 'argument', `${what} is no object`);
}

function member(of: object, name: string): unknown {
  return Object.hasOwn(of, name) ? Reflect.get(of, name) : undefined;
}

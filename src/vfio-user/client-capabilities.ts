/** What the two sides of a connection say they can do. */
import { refuse } from '../errors.js';
import { MAX_DATA_XFER_SIZE, VERSION } from './protocol.js';

/** What a server can do, with the defaults of the specification for what it does not say. */
export interface ServerCapabilities {
  /** Descriptors that may go with a message. */
  readonly maxMessageDescriptors: number;
  /** Bytes that a command may move. */
  readonly maxDataTransfer: number;
  /** Whether it takes REGION_WRITE_MULTI. */
  readonly writeMultiple: boolean;
  /** Bytes that a bit of its dirty bitmaps stands for. */
  readonly migrationPageSize: number;
}

/** What the client says of itself. */
const OURS = {
  capabilities: {
    max_msg_fds: 16,
    max_data_xfer_size: MAX_DATA_XFER_SIZE,
    migration: { pgsize: 4096 },
    write_multiple: true,
  },
};

/** The payload of the first message. */
export function proposal(): Uint8Array[] {
  const text = new TextEncoder().encode(`${JSON.stringify(OURS)}\0`);
  return [VERSION.encode({ major: 0, minor: 0 }), text];
}

/**
 * What a server answers to it.
 *
 * @throws EBADE if it is of another major version, or no such answer
 */
export function readAnswer(payload: Uint8Array): ServerCapabilities {
  if (payload.length < VERSION.length) throw unusable('it is too short');
  const { major } = VERSION.decode(payload);
  if (major !== 0) throw unusable(`its major version is ${major}`);
  const text = new TextDecoder().decode(payload.subarray(VERSION.length)).replace(/\0[\s\S]*$/, '');
  const capabilities = member(text.trim() === '' ? {} : parse(text), 'capabilities');
  return {
    maxMessageDescriptors: count(capabilities, 'max_msg_fds', 1),
    maxDataTransfer: count(capabilities, 'max_data_xfer_size', MAX_DATA_XFER_SIZE),
    writeMultiple: member(capabilities, 'write_multiple') === true,
    migrationPageSize: count(member(capabilities, 'migration'), 'pgsize', 4096),
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unusable('its capabilities are no JSON');
  }
}

function member(object: unknown, name: string): unknown {
  if (typeof object !== 'object' || object === null) return undefined;
  return Object.entries(object).find(([key]) => key === name)?.[1];
}

function count(object: unknown, name: string, otherwise: number): number {
  const value = member(object, name) ?? otherwise;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw unusable(`its ${name} is ${JSON.stringify(value)}`);
}

function unusable(why: string) {
  return refuse('EBADE', 'state', `the server's answer to VERSION is of no use: ${why}`);
}

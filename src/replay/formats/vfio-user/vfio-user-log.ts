/**
 * Recorded sessions of vfio-user, a JSON object a line: every message with its bytes in hex, as `serve(…, { record })`
 * writes them, or the fields of the messages from the client, or of its DMA_MAP and DMA_UNMAP alone.
 */
import { hex, MAX_U64 } from '../../../u64.js';
import { type COMMAND, DMA_MAP, DMA_UNMAP, HEADER_SIZE, MESSAGE_FLAG } from '../../../vfio-user/protocol.js';
import { type LogPlace, type MalformedLine, malformed } from '../../log-line.js';

/** A client begins. What one before it had mapped is gone. */
export interface VfioUserBegin extends LogPlace {
  readonly type: 'vfiouser-begin';
}

/** DMA_MAP. */
export interface VfioUserMap extends LogPlace {
  readonly type: 'vfiouser-map';
  /** The message's, where answers are in the log, too. */
  readonly id: number | undefined;
  readonly iova: bigint;
  readonly length: bigint;
  /** Bits: 1 read, 2 write. */
  readonly flags: number;
  /** Where in its file the memory begins. */
  readonly offset: bigint;
  /** Whether there is a file. */
  readonly file: boolean;
}

/** DMA_UNMAP. */
export interface VfioUserUnmap extends LogPlace {
  readonly type: 'vfiouser-unmap';
  /** As of `VfioUserMap`. */
  readonly id: number | undefined;
  readonly iova: bigint;
  readonly length: bigint;
  /** How many mappings it has removed, where the log says it. */
  readonly removed: number | undefined;
}

/** The server's answer to one of the two. */
export interface VfioUserReply extends LogPlace {
  readonly type: 'vfiouser-reply';
  readonly call: 'map' | 'unmap';
  readonly id: number;
  /** A positive errno, or 0. */
  readonly error: number;
}

/** What such a session says, as far as it is about IOVA. */
export type VfioUserEvent = VfioUserBegin | VfioUserMap | VfioUserUnmap | VfioUserReply;

type Values = Readonly<Record<string, unknown>>;

/** What begins a file with nothing but maps and unmaps. */
const HEADER = 'vfio-user-dma-';

/** Every line with an event has one of these in it. */
export const VFIO_USER_MARKS = ['"DMA_MAP"', '"DMA_UNMAP"', '"VERSION"', '"op"', `"${HEADER}`] as const;

const CALLS: Readonly<Record<string, 'map' | 'unmap'>> = {
  DMA_MAP: 'map',
  DMA_UNMAP: 'unmap',
  map: 'map',
  unmap: 'unmap',
};

/** Reads one line. */
export function readVfioUserLine(text: string, line: number): VfioUserEvent | MalformedLine | undefined {
  if (!text.startsWith('{')) return undefined;
  const values = parsed(text);
  if (values === undefined) return malformed(line, text, 'is no JSON');
  const { format, cmd, op, from } = values;
  if (typeof format === 'string' && format.startsWith(HEADER)) return { type: 'vfiouser-begin', line };
  if (cmd === 'VERSION') return from === 'server' ? undefined : { type: 'vfiouser-begin', line };
  const call = CALLS[String(cmd ?? op)];
  if (call === undefined) return undefined;
  try {
    return from === undefined ? fieldsOf(values, call, line) : messageOf(values, call, line);
  } catch (error) {
    return malformed(line, text, error instanceof Error ? error.message : String(error));
  }
}

function parsed(text: string): Values | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** A message with its fields. */
function fieldsOf(values: Values, call: 'map' | 'unmap', line: number): VfioUserEvent {
  const iova = address(values.iova ?? values.address, 'iova');
  const length = address(values.size, 'size');
  if (call === 'unmap') {
    const { removes } = values;
    const removed = removes === undefined ? undefined : integer(removes, 'removes', 2 ** 53 - 1);
    return { type: 'vfiouser-unmap', line, id: undefined, iova, length, removed };
  }
  const flags = integer(values.mflags ?? values.flags, 'flags', 2 ** 32 - 1);
  const offset = address(values.offset, 'offset');
  const { fd, fds } = values;
  const file = fd === true || (Array.isArray(fds) && fds.length > 0);
  return { type: 'vfiouser-map', line, id: undefined, iova, length, flags, offset, file };
}

/** A message with its bytes. */
function messageOf(values: Values, call: 'map' | 'unmap', line: number): VfioUserEvent {
  const id = integer(values.id, 'id', 0xffff);
  if (values.from === 'server') {
    return { type: 'vfiouser-reply', line, call, id, error: integer(values.error, 'error', 2 ** 31) };
  }
  const struct = call === 'map' ? DMA_MAP : DMA_UNMAP;
  const { payload } = values;
  if (
    typeof payload !== 'string' ||
    !/^([0-9a-f]{2})*$/.test(payload) ||
    payload.length < 2 * struct.length
  ) {
    throw new Error(`its payload has not the ${struct.length} bytes of a ${call}`);
  }
  const bytes = Uint8Array.from(payload.match(/../g)!.slice(0, struct.length), (byte) =>
    Number.parseInt(byte, 16),
  );
  if (call === 'unmap') {
    const { address: iova, size: length } = DMA_UNMAP.decode(bytes);
    return { type: 'vfiouser-unmap', line, id, iova, length, removed: undefined };
  }
  const { address: iova, size: length, flags, offset } = DMA_MAP.decode(bytes);
  const file = integer(values.fds, 'fds', 2 ** 16) > 0;
  return { type: 'vfiouser-map', line, id, iova, length, flags, offset, file };
}

function address(value: unknown, name: string): bigint {
  if (typeof value === 'string' && /^0x[0-9a-fA-F]{1,16}$/.test(value)) {
    const number = BigInt(value);
    if (number <= MAX_U64) return number;
  }
  throw new Error(`its ${name} is no hexadecimal number of 64 bits`);
}

function integer(value: unknown, name: string, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most) return value;
  throw new Error(`its ${name} is no number of 0 to ${most}`);
}

/** The line of an event. */
export function formatVfioUserLine(event: VfioUserEvent): string {
  switch (event.type) {
    case 'vfiouser-begin':
      return JSON.stringify({ cmd: 'VERSION' });
    case 'vfiouser-reply': {
      const flags = MESSAGE_FLAG.REPLY | (event.error === 0 ? 0 : MESSAGE_FLAG.ERROR);
      const cmd = event.call === 'map' ? 'DMA_MAP' : 'DMA_UNMAP';
      return JSON.stringify({ from: 'server', id: event.id, cmd, flags, error: event.error });
    }
    case 'vfiouser-map':
      return formatMap(event);
    case 'vfiouser-unmap':
      return formatUnmap(event);
  }
}

function formatMap({ id, iova, length, flags, offset, file }: VfioUserMap): string {
  if (id === undefined) {
    const values = { iova: hex(iova), size: hex(length), flags, offset: hex(offset), fd: file };
    return JSON.stringify({ op: 'map', ...values });
  }
  const payload = DMA_MAP.encode({ argsz: DMA_MAP.length, flags, offset, address: iova, size: length });
  return formatMessage('DMA_MAP', id, Number(file), payload);
}

function formatUnmap({ id, iova, length, removed }: VfioUserUnmap): string {
  if (id === undefined) {
    return JSON.stringify({ op: 'unmap', iova: hex(iova), size: hex(length), removes: removed });
  }
  const payload = DMA_UNMAP.encode({ argsz: DMA_UNMAP.length, address: iova, size: length });
  return formatMessage('DMA_UNMAP', id, 0, payload);
}

function formatMessage(cmd: keyof typeof COMMAND, id: number, fds: number, bytes: Uint8Array): string {
  const payload = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return JSON.stringify({
    from: 'client',
    id,
    cmd,
    flags: 0,
    error: 0,
    fds,
    size: HEADER_SIZE + bytes.length,
    payload,
  });
}

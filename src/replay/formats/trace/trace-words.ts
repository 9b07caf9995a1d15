/** The operations and answers of a trace in words. Their fields have been read, so they are as the format says. */
import { rangeInWords } from '../../replay-space.js';
import type { Answer } from './trace-target.js';

/** Fields by name. */
type Fields = Readonly<Record<string, unknown>>;

const LONGEST_VALUE = 60;
/** Fields that name an object, which needs no further word. */
const HANDLES: ReadonlySet<string> = new Set(['ioas', 'domain', 'access', 'item', 'file', 'queue']);
/** Fields that are said otherwise. */
const SAID: ReadonlySet<string> = new Set(['op', 'expect', 'iova', 'start', 'length']);

/** An operation: `map [0x1000, 0x1fff] of ioas0 from user 0x100000 (rw)`. */
export function operationInWords(operation: string, fields: Fields): string {
  const { ioas, iova, start, length, uptr, prot } = fields;
  const name = operation.replaceAll('_', ' ');
  const range = rangeOf(iova ?? start, length);
  switch (operation) {
    case 'map':
      return `map ${placeOf(iova, length, ioas)} from user ${uptr} (${prot})`;
    case 'map_file':
      return `map ${placeOf(iova, length, ioas)} from byte ${start} of ${fields.file} (${prot})`;
    case 'unmap':
      return `unmap ${range} of ${ioas}`;
    case 'copy': {
      const { src, src_iova, dst, dst_iova } = fields;
      return `copy ${rangeOf(src_iova, length)} of ${src} to ${placeOf(dst_iova, length, dst)} (${prot})`;
    }
    case 'vfio_map':
      return `${name} ${range} from user ${uptr} (${prot})`;
    default: {
      if (range === undefined && length !== undefined) return `${name} user ${rangeOf(uptr, length)}`;
      const others = Object.entries(fields).filter(([key]) => !SAID.has(key));
      const words = others.map(([key, value]) => fieldInWords(key, value));
      return [name, range ?? '', ...words].filter((word) => word !== '').join(' ');
    }
  }
}

/** An answer: `OK`, or with its other outputs: `OK, iova 0x1000`. */
export function answerInWords({ errno, ...outputs }: Answer): string {
  return [String(errno), ...Object.entries(outputs).map(([key, value]) => `${key} ${short(value)}`)].join(
    ', ',
  );
}

function rangeOf(first: unknown, length: unknown): string | undefined {
  if (typeof first !== 'string' || typeof length !== 'string') return undefined;
  return rangeInWords(BigInt(first), BigInt(length));
}

function placeOf(iova: unknown, length: unknown, ioas: unknown): string {
  return iova === null ? `${length} bytes anywhere in ${ioas}` : `${rangeOf(iova, length)} of ${ioas}`;
}

function fieldInWords(key: string, value: unknown): string {
  if (HANDLES.has(key)) return String(value);
  if (typeof value === 'boolean') return value ? key : '';
  if (value === null) return '';
  if (key === 'uptr') return `user ${value}`;
  return `${key} ${Array.isArray(value) && key !== 'aperture' ? `(${value.length})` : short(value)}`;
}

function short(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length <= LONGEST_VALUE ? text : `${text.slice(0, LONGEST_VALUE)}…`;
}

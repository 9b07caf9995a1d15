/**
 * Buffers as they are. A class made from `ArrayBuffer`, or a property put on a buffer, may say something else of the
 * length, and something else again the next time: it is not asked.
 */

/** What shows a buffer's state: the language's own getters, to be called with it. */
export interface BufferKind {
  readonly shared: boolean;
  readonly byteLength: (this: unknown) => number;
  /** Absent where buffers cannot change their length. */
  readonly maxByteLength: ((this: unknown) => number) | undefined;
  /** As `maxByteLength`. */
  readonly resizable: ((this: unknown) => boolean) | undefined;
}

function getter<T>(prototype: object, name: string): ((this: unknown) => T) | undefined {
  return Object.getOwnPropertyDescriptor(prototype, name)?.get;
}

function kind(prototype: object, shared: boolean): BufferKind {
  return {
    shared,
    byteLength: getter<number>(prototype, 'byteLength')!,
    maxByteLength: getter(prototype, 'maxByteLength'),
    resizable: getter(prototype, shared ? 'growable' : 'resizable'),
  };
}

/** A page that is not isolated has no shared buffers. */
const KINDS: readonly BufferKind[] = [
  kind(ArrayBuffer.prototype, false),
  ...(typeof SharedArrayBuffer === 'undefined' ? [] : [kind(SharedArrayBuffer.prototype, true)]),
];

/** Which kind of buffer a value is, of whatever realm; `undefined` if it is none. */
export function bufferKind(value: unknown): BufferKind | undefined {
  return KINDS.find(({ byteLength }) => {
    try {
      byteLength.call(value);
      return true;
    } catch {
      return false;
    }
  });
}

/** Length of a `SharedArrayBuffer` of whatever realm, or `undefined` if the value is none. */
export function sharedByteLength(value: unknown): number | undefined {
  const kind = bufferKind(value);
  return kind?.shared ? kind.byteLength.call(value) : undefined;
}

/** Whether a value is an `ArrayBuffer` or a `SharedArrayBuffer`. */
export function isBuffer(value: unknown): value is ArrayBuffer | SharedArrayBuffer {
  return bufferKind(value) !== undefined;
}

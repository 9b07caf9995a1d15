/**
 * The one error class of the library, in Node's style: `code`, negative `errno`, the operation, the range and a
 * typed reason.
 */
import { type Address, hex, hexRange, type Interval, intervalOf, isZero } from './u64.js';

/** Error numbers as Linux has them on x86-64 and on all machines with the generic numbers. */
export const ERRNO = Object.freeze({
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  EPIPE: 32,
  EDEADLOCK: 35,
  EBADE: 52,
  EOVERFLOW: 75,
  EBADFD: 77,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  ECONNRESET: 104,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  ECANCELED: 125,
} as const);

/** The symbolic name of an error number. */
export type ErrorCode = keyof typeof ERRNO;

const CODES = new Map(Object.entries(ERRNO).map(([code, errno]) => [errno as number, code as ErrorCode]));

/** The name of a positive error number; `undefined` of one that has none here. */
export function errorCodeOf(errno: number): ErrorCode | undefined {
  return CODES.get(errno);
}

/** A mapped area as an error shows it; addresses in hex, bounds inclusive. */
export interface AreaInTheWay {
  readonly iova: string;
  readonly last: string;
  /** User address that the area's first byte is mapped from; absent while the area is being set up. */
  readonly uptr?: string;
}

/**
 * Why a call was refused: the check that failed, and the object in the way.
 *
 * `check` is the discriminant; the other fields depend on it. All addresses are hex strings.
 */
export type ErrorReason =
  /** `area` is in the range (EEXIST, EADDRINUSE), reaches outside it or is not all of it (ENOENT), or is in use. */
  | {
      readonly check: 'overlap' | 'partial-area' | 'not-exact' | 'area-in-use' | 'area-busy';
      readonly area: AreaInTheWay;
    }
  /** A reserved range is in the way; `owner` says whose. */
  | { readonly check: 'reserved'; readonly range: string; readonly owner: string }
  /** An allowed range forbids a reservation. */
  | { readonly check: 'allowed'; readonly range: string }
  /** `what` is not a multiple of the alignment. */
  | {
      readonly check: 'alignment';
      readonly what: string;
      readonly value: string;
      readonly alignment: number;
      readonly area?: AreaInTheWay;
    }
  /** Nothing is mapped at `iova`. */
  | { readonly check: 'not-mapped'; readonly iova: string }
  /** The permission that the mapping, or the memory, does not grant. */
  | {
      readonly check: 'permission';
      readonly wanted: 'read' | 'write';
      readonly detail: string;
      readonly area?: AreaInTheWay;
    }
  /** The first page that is not memory of the process, or not writable where that is needed. */
  | { readonly check: 'memory'; readonly uptr: string; readonly detail: string }
  /** The locked-memory limit, in bytes. */
  | {
      readonly check: 'locked-memory';
      readonly of: 'user' | 'process';
      readonly limitBytes: bigint;
      readonly lockedBytes: bigint;
      readonly neededBytes: bigint;
    }
  /** No hole that is large enough. */
  | { readonly check: 'no-space'; readonly alignment: string }
  /** An object that does not exist, or is of another kind. */
  | { readonly check: 'object'; readonly id: string; readonly detail: string }
  /** Any other rule, in words. */
  | {
      readonly check: 'argument' | 'state' | 'overflow' | 'domain' | 'fault' | 'unsupported' | 'would-wait';
      readonly detail: string;
    };

/** An error of the library: what failed, with which errno, and why. */
export class IommuError extends Error {
  override readonly name = 'IommuError';
  /** Symbolic error name, as in Node: `'EEXIST'`. */
  readonly code: ErrorCode;
  /** Negative error number, as in Node: `-17`. */
  readonly errno: number;
  /** Why: the check that failed and the object in the way. */
  readonly reason: ErrorReason;
  /** The operation that failed: `'map'`, `'unmap'` … */
  syscall: string | undefined;
  /** The IOVA range of the call, `[0x…, 0x…]` with both ends included, where it has one. */
  range: string | undefined;
  /** For an unmap that stopped half-way: bytes that were unmapped before it did. */
  unmapped: bigint | undefined;
  #advice: (() => Promise<string>) | undefined;

  constructor(code: ErrorCode, reason: ErrorReason) {
    super(`${code}: ${sentence(reason)}`);
    this.code = code;
    this.errno = -ERRNO[code];
    this.reason = reason;
  }

  /**
   * Completes an error from below with the call it happened in. The outermost call that knows its range wins
   * only where nothing was said yet.
   *
   * @internal
   */
  during(syscall: string, range?: string): this {
    if (this.syscall !== undefined) return this;
    this.syscall = syscall;
    this.range = range;
    const subject = range === undefined ? syscall : `${syscall} ${range}`;
    this.message = `${this.code}: ${subject}: ${sentence(this.reason)}`;
    return this;
  }

  /**
   * What to do about it, in words: the text of `IoPagetable.explain` for the call that failed, or the message where
   * the call cannot be explained. It is worked out when it is asked for, on the table as it is then.
   */
  advice(): Promise<string> {
    return this.#advice === undefined ? Promise.resolve(this.message) : this.#advice();
  }

  /**
   * Says how advice is found.
   *
   * @internal
   */
  adviseBy(advice: () => Promise<string>): void {
    this.#advice = advice;
  }
}

/** Completes an error with the call it ended and the range that call was about; gives the error back. */
export function during(error: unknown, syscall: string, iova?: Address, length?: Address): unknown {
  if (!(error instanceof IommuError)) return error;
  const range = iova && length && !isZero(length) ? intervalOf(iova, length) : undefined;
  return error.during(syscall, range && hexRange(range));
}

/** EAGAIN: what a synchronous call gives instead of waiting. */
export function wouldWait(): IommuError {
  return refuse(
    'EAGAIN',
    'would-wait',
    'the call would have to wait for another one, for memory or for a callback',
  );
}

/** How an error names an area. */
export function areaInTheWay(range: Interval, uptr?: Address): AreaInTheWay {
  const area = { iova: hex(range), last: hex({ page: range.lastPage, offset: range.lastOffset }) };
  return uptr === undefined ? area : { ...area, uptr: hex(uptr) };
}

/** An error whose reason is a rule put in words. */
export function refuse(
  code: ErrorCode,
  check: 'argument' | 'state' | 'overflow' | 'domain' | 'fault' | 'unsupported' | 'would-wait',
  detail: string,
): IommuError {
  return new IommuError(code, { check, detail });
}

/** EINVAL: `value` is not a multiple of the alignment. */
export function misaligned(what: string, value: Address, alignment: number): IommuError {
  return new IommuError('EINVAL', { check: 'alignment', what, value: hex(value), alignment });
}

/** ENOENT: nothing is mapped at an address. */
export function notMapped(iova: Address): IommuError {
  return new IommuError('ENOENT', { check: 'not-mapped', iova: hex(iova) });
}

/** EINVAL or ENOENT: a reservation is in the way. */
export function reservedInTheWay(code: ErrorCode, range: Interval, owner: string): IommuError {
  return new IommuError(code, { check: 'reserved', range: hexRange(range), owner });
}

function describe(area: AreaInTheWay): string {
  const place = `[${area.iova}, ${area.last}]`;
  return area.uptr === undefined ? place : `${place} (mapped from user address ${area.uptr})`;
}

/** A reason as a sentence a VMM author can act on. */
export function sentence(reason: ErrorReason): string {
  switch (reason.check) {
    case 'overlap':
      return `area ${describe(reason.area)} is already mapped there; unmap it first or choose another IOVA`;
    case 'partial-area':
      return `area ${describe(reason.area)} reaches outside the range; an area is unmapped as a whole or not at all`;
    case 'not-exact':
      return `the range is not exactly area ${describe(reason.area)}; this kernel takes one whole area per call`;
    case 'area-in-use':
      return `area ${describe(reason.area)} is still pinned by an access that did not let go of it`;
    case 'area-busy':
      return `area ${describe(reason.area)} is being set up or torn down by another call`;
    case 'reserved':
      return `${reason.range} is reserved by ${reason.owner}`;
    case 'allowed':
      return `${reason.range} is in the list of allowed IOVA, which may not become reserved`;
    case 'alignment': {
      const where = reason.area === undefined ? '' : ` of area ${describe(reason.area)}`;
      return `${reason.what} ${reason.value}${where} is not a multiple of ${reason.alignment}, the IOVA alignment in force`;
    }
    case 'not-mapped':
      return `nothing is mapped at ${reason.iova}`;
    case 'permission': {
      const where = reason.area === undefined ? '' : ` in area ${describe(reason.area)}`;
      return `${reason.wanted} access${where} is not granted: ${reason.detail}`;
    }
    case 'memory':
      return `user address ${reason.uptr} ${reason.detail}`;
    case 'locked-memory':
      return (
        `locked-memory limit of the ${reason.of}: ${reason.lockedBytes} bytes are locked and ` +
        `${reason.neededBytes} more are needed, but the limit is ${reason.limitBytes} bytes`
      );
    case 'no-space':
      return `no free range of that length at alignment ${reason.alignment}`;
    case 'object':
      return `object ${reason.id} ${reason.detail}`;
    default:
      return reason.detail;
  }
}

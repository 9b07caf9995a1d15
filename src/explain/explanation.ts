/**
 * What `IoPagetable.explain` says about a call: plain data and a text.
 */

import type { AreaInTheWay, ErrorCode, ErrorReason } from '../errors.js';
import type { Protection } from '../protection.js';

/** A call of `IoPagetable` as plain data. The memory, source table or domain it is about are those asked about. */
export type PlannedCall =
  /** `map`; without `iova` the table chooses. */
  | {
      readonly call: 'map';
      readonly iova?: bigint;
      readonly uptr: bigint;
      readonly length: bigint;
      readonly prot: Protection;
    }
  /** `copy`; without `iova` the table chooses. */
  | {
      readonly call: 'copy';
      readonly srcIova: bigint;
      readonly iova?: bigint;
      readonly length: bigint;
      readonly prot: Protection;
    }
  /** `unmap` */
  | { readonly call: 'unmap'; readonly iova: bigint; readonly length: bigint }
  /** `access` */
  | { readonly call: 'access'; readonly iova: bigint; readonly length: bigint; readonly write: boolean }
  /** `addDomain` */
  | { readonly call: 'addDomain' };

/** One step of an alternative: a call of the table, or something that is to be done outside of it. */
export type AlternativeStep =
  | PlannedCall
  /** `cutIova`: each address becomes the last byte of the left part. */
  | { readonly call: 'cutIova'; readonly addresses: readonly bigint[] }
  /** `setAllowedIova`, bounds inclusive. */
  | {
      readonly call: 'setAllowedIova';
      readonly ranges: readonly { readonly start: bigint; readonly last: bigint }[];
    }
  /** Raise the locked-memory limit (RLIMIT_MEMLOCK) of the user or the process to at least so many bytes. */
  | {
      readonly call: 'raise-locked-limit';
      readonly of: 'user' | 'process';
      readonly limitBytes: bigint;
      /** By how much that is above the limit now. */
      readonly missingBytes: bigint;
    }
  /** Map user memory there (or, if it is there, make it writable). */
  | {
      readonly call: 'provide-memory';
      readonly uptr: bigint;
      readonly length: bigint;
      readonly writable: boolean;
    };

/** A way that works: steps that succeed one after the other. */
export interface Alternative {
  readonly steps: readonly AlternativeStep[];
  /** The same in words, without a full stop. */
  readonly text: string;
}

/** What both kinds of explanation have. */
export interface ExplainedCall {
  /** The call in words: `map [0x1000, 0x1fff] from user 0x10000`. */
  readonly call: string;
  /** The first areas, at most 16, that the range of the call touches now. */
  readonly areas: readonly AreaInTheWay[];
  /**
   * Areas in which accesses have pins. They would be asked to let go; if one doesn't, the unmap ends with EDEADLOCK,
   * if one fails, with its error.
   */
  readonly letGo: readonly AreaInTheWay[];
  /** For an unmap: the bytes that it would remove, also before a failure. */
  readonly unmapped?: bigint;
  /** All of it as text. */
  readonly text: string;
}

/** The call would succeed. */
export interface ExplainedSuccess extends ExplainedCall {
  readonly ok: true;
  /** Where a `map` or `copy` would go. */
  readonly iova?: bigint;
  /** Bytes that would be pinned that are not pinned now. */
  readonly pinnedBytes: bigint;
}

/** The call would fail. */
export interface ExplainedFailure extends ExplainedCall {
  readonly ok: false;
  readonly code: ErrorCode;
  /** Negative, as in `IommuError`. */
  readonly errno: number;
  /** The check that fails and the object in the way, as the error of the call would have it. */
  readonly reason: ErrorReason;
  /** Legal calls near to this one, nearest first, and what makes this one legal. Each was tried in a dry run. */
  readonly alternatives: readonly Alternative[];
}

/** What a call would do; `ok` is the discriminant. */
export type Explanation = ExplainedSuccess | ExplainedFailure;

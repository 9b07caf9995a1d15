/** Random steps for calls that overlap. */
import fc from 'fast-check';

/** Code outside the library that calls wait for. */
const CALL_OUTS = ['pin', 'copy', 'onUnmap', 'createDomain', 'attach', 'detach'] as const;
export type CallOut = (typeof CALL_OUTS)[number];

/** The calls, as often as they are to come. */
const CALLS = {
  ioasAlloc: 2,
  map: 8,
  copy: 4,
  unmap: 6,
  unmapAll: 2,
  allow: 1,
  ranges: 1,
  'huge pages': 1,
  destroy: 8,
  bind: 3,
  attach: 24,
  replace: 12,
  detach: 20,
  unbind: 2,
  hwptAlloc: 5,
  'dirty tracking': 2,
  'dirty bitmap': 2,
  access: 4,
  'access attach': 3,
  'access replace': 4,
  'access detach': 3,
  'access destroy': 3,
  pin: 6,
  unpin: 3,
  read: 2,
  write: 2,
  'vfio set': 1,
  'vfio type': 2,
  'vfio map': 3,
  'vfio unmap': 3,
  'vfio info': 1,
  close: 1,
} as const;
type CallName = keyof typeof CALLS;
const CALL_NAMES = Object.keys(CALLS).filter((name): name is CallName => name in CALLS);

/** A call. What its numbers mean depends on the call. */
export interface CallStep {
  readonly op: CallName;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  /** What answers only when it is let go of. */
  readonly late: readonly CallOut[];
  readonly fails: readonly CallOut[];
  /** When the signal is aborted: before the call, or right after it was begun. */
  readonly abort?: 'before' | 'after' | undefined;
  /** What the signal is aborted inside of. */
  readonly abortIn?: CallOut | undefined;
  /** The next step follows at once, before anything that waits for promises goes on. */
  readonly together?: boolean | undefined;
}

export type Step =
  | CallStep
  /** One late answer comes. */
  | { readonly op: 'let go'; readonly which: number }
  /** One call in progress is stopped. */
  | { readonly op: 'abort'; readonly which: number }
  /** Everything comes to an end. */
  | { readonly op: 'settle' };

const few = fc.oneof(
  { weight: 5, arbitrary: fc.constant<CallOut[]>([]) },
  { weight: 2, arbitrary: fc.subarray([...CALL_OUTS], { minLength: 1, maxLength: 2 }) },
);
const rarely = fc.oneof(
  { weight: 12, arbitrary: fc.constant<CallOut[]>([]) },
  { weight: 1, arbitrary: fc.subarray([...CALL_OUTS], { minLength: 1, maxLength: 1 }) },
);

const callStep: fc.Arbitrary<CallStep> = fc.record({
  op: fc.oneof(...CALL_NAMES.map((name) => ({ weight: CALLS[name], arbitrary: fc.constant(name) }))),
  a: fc.nat(11),
  b: fc.nat(27),
  c: fc.nat(11),
  late: few,
  fails: rarely,
  abort: fc.option(fc.constantFrom('before' as const, 'after' as const), { freq: 9, nil: undefined }),
  abortIn: fc.option(fc.constantFrom(...CALL_OUTS), { freq: 9, nil: undefined }),
  together: fc.constantFrom(true, true, false),
});

/** One step. */
export const arbitraryStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 30, arbitrary: callStep },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('let go' as const), which: fc.nat(7) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('abort' as const), which: fc.nat(7) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('settle' as const) }) },
);

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  cleaned,
  DIRTY,
  emptied,
  frameOf,
  indexOf,
  LEAF,
  nextState,
  PRESENT,
  PROTECTION,
  soiled,
  TABLE,
} from '../../src/domain/table-entry.js';

const FLAGS = PRESENT | PROTECTION | DIRTY;
const anyState = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const anyFrame = fc.oneof(fc.nat({ max: 2 ** 40 - 1 }), fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 40 - 1));
const flags = fc.constantFrom(LEAF, LEAF | 1, LEAF | 2, LEAF | 3, LEAF | DIRTY | 3, TABLE);

/** The low word as a table keeps it. */
const low = (frame: number) => Int32Array.of(frame)[0]!;

describe('an entry', () => {
  test('keeps a frame number of 40 bits next to its flags', () => {
    fc.assert(
      fc.property(anyState, flags, anyFrame, (state, bits, frame) => {
        const next = nextState(state, bits, frame);
        expect(frameOf(low(frame), next)).toBe(frame);
        expect(next & FLAGS).toBe(bits);
        expect(Int32Array.of(next)[0]).toBe(next);
      }),
    );
  });

  test('has another state after each change, for as long as a version of 19 bits can tell', () => {
    fc.assert(
      fc.property(anyState, flags, anyFrame, (before, bits, frame) => {
        const states = [before];
        const change = (next: number) => {
          expect(states).not.toContain(next);
          states.push(next);
          return next;
        };
        let state = change(nextState(before, bits, frame));
        const filled = state;
        state = change(soiled(state));
        expect([state & FLAGS, frameOf(low(frame), state)]).toEqual([bits | DIRTY, frame]);
        state = change(cleaned(state));
        expect([state & FLAGS, frameOf(low(frame), state)]).toEqual([bits & ~DIRTY, frame]);
        state = change(emptied(state));
        expect(state & FLAGS).toBe(0);
        state = change(nextState(state, bits, frame));
        expect(state).not.toBe(filled);
      }),
    );
  });

  test('is found by nine bits of the page number a level', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 52n - 1n }), fc.nat(5), (page, level) => {
        expect(indexOf(Number(page), level)).toBe(Number((page >> BigInt(9 * level)) & 511n));
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameRuns } from '../../src/memory/frame-runs.js';

interface Run {
  readonly pfn: number;
  readonly count: number;
}

function frameRuns(runs: readonly Run[]): FrameRuns {
  const frames = new FrameRuns();
  for (const { pfn, count } of runs) frames.push(pfn, count);
  return frames;
}

function framesOf(runs: readonly Run[]): number[] {
  return runs.flatMap(({ pfn, count }) => Array.from({ length: count }, (_, at) => pfn + at));
}

/** The longest runs of a plain list. */
function longestRuns(frames: readonly number[]): Run[] {
  const runs: { pfn: number; count: number }[] = [];
  for (const pfn of frames) {
    const last = runs.at(-1);
    if (last !== undefined && last.pfn + last.count === pfn) last.count++;
    else runs.push({ pfn, count: 1 });
  }
  return runs;
}

function stored(frames: FrameRuns): Run[] {
  return Array.from({ length: frames.runs }, (_, run) => ({
    pfn: frames.pfnOf(run),
    count: frames.countOf(run),
  }));
}

function visited(frames: FrameRuns, from: number, count: number): number[] {
  const seen: number[] = [];
  frames.forEachRun(from, count, (pfn, length, position) => {
    expect(position).toBe(from + seen.length);
    expect(length).toBeGreaterThan(0);
    for (let at = 0; at < length; at++) seen.push(pfn + at);
  });
  return seen;
}

// Few different numbers, so that runs are often extended; half of the runs are single frames.
const run = fc.record({ pfn: fc.nat(12), count: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 5 })) });
const step = fc.oneof(
  { weight: 6, arbitrary: run.map((value) => ({ do: 'push' as const, value })) },
  fc.array(run, { maxLength: 12 }).map((value) => ({ do: 'append' as const, value })),
  fc.nat(60).map((value) => ({ do: 'truncate' as const, value })),
  fc.nat(30).map((value) => ({ do: 'reserve' as const, value })),
  fc.nat(60).map((value) => ({ do: 'at' as const, value })),
  fc.tuple(fc.nat(60), fc.nat(60)).map((value) => ({ do: 'read' as const, value })),
  // A copy, and work on the list that was made so last or on one from before.
  fc.boolean().map((value) => ({ do: 'copy' as const, value })),
);

describe('FrameRuns', () => {
  test('is a list of frames', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let frames = new FrameRuns();
        let model: number[] = [];
        const others: { frames: FrameRuns; model: number[] }[] = [];
        for (const { do: what, value } of steps) {
          if (what === 'push') {
            frames.push(value.pfn, value.count);
            model.push(...framesOf([value]));
          } else if (what === 'append') {
            frames.append(frameRuns(value));
            model.push(...framesOf(value));
          } else if (what === 'truncate') {
            frames.truncate(value);
            model = model.slice(0, value);
          } else if (what === 'reserve') {
            frames.reserve(value);
          } else if (what === 'copy') {
            const copy = new FrameRuns();
            copy.append(frames);
            const [kept, next] = value ? [frames, copy] : [copy, frames];
            others.push({ frames: kept, model: [...model] });
            frames = next;
          } else if (what === 'at') {
            if (value < model.length) expect(frames.at(value)).toBe(model[value]);
            else expect(() => frames.at(value)).toThrow(RangeError);
          } else {
            const [from, count] = value;
            expect(visited(frames, from, count)).toEqual(model.slice(from, from + count));
            const part = frames.slice(from, count);
            expect(stored(part)).toEqual(longestRuns(model.slice(from, from + count)));
          }
          expect(frames.frames).toBe(model.length);
          expect(stored(frames)).toEqual(longestRuns(model));
          for (const other of others) expect(stored(other.frames)).toEqual(longestRuns(other.model));
        }
        expect(model.map((_, at) => frames.at(at))).toEqual(model);
      }),
      { numRuns: 500 },
    );
  });

  test('appends itself', () => {
    const frames = frameRuns([
      { pfn: 7, count: 1 },
      { pfn: 5, count: 2 },
    ]);
    frames.append(frames);
    expect(stored(frames)).toEqual([
      { pfn: 7, count: 1 },
      { pfn: 5, count: 3 },
      { pfn: 5, count: 2 },
    ]);
  });

  test('forgets everything when it is cut to nothing', () => {
    const frames = frameRuns([
      { pfn: 10, count: 2 },
      { pfn: 20, count: 2 },
      { pfn: 30, count: 2 },
    ]);
    expect(frames.at(5)).toBe(31);
    frames.truncate(0);
    frames.push(32, 2);
    frames.push(50, 8);
    expect(frames.at(7)).toBe(55);
    expect(stored(frames)).toEqual([
      { pfn: 32, count: 2 },
      { pfn: 50, count: 8 },
    ]);
  });

  test('keeps a terabyte in one run and numbers past 2^32 exact', () => {
    const frames = frameRuns([
      { pfn: 2 ** 39, count: 2 ** 27 },
      { pfn: 2 ** 39 + 2 ** 27, count: 2 ** 27 },
    ]);
    expect(stored(frames)).toEqual([{ pfn: 2 ** 39, count: 2 ** 28 }]);
    expect(frames.at(2 ** 28 - 1)).toBe(2 ** 39 + 2 ** 28 - 1);
  });

  test.each([-1, 3, 0.5, Number.NaN])('refuses position %d of three', (position) => {
    expect(() => frameRuns([{ pfn: 1, count: 3 }]).at(position)).toThrow(RangeError);
  });
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { PinnedStore } from '../../src/pages/pinned-store.js';

const toList = (runs: FrameRuns) => Array.from({ length: runs.frames }, (_, at) => runs.at(at));

test('a pinned store is a map from index to frame', () => {
  const step = fc.record({
    insert: fc.boolean(),
    first: fc.nat(30),
    count: fc.integer({ min: 1, max: 12 }),
    pfn: fc.nat(40),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const store = new PinnedStore();
      const model = new Map<number, number>();
      for (const { insert, first, count, pfn } of steps) {
        const indexes = Array.from({ length: count }, (_, at) => first + at);
        if (insert) {
          // What is stored already is not stored again; the rest goes in page by page.
          for (const index of indexes.filter((index) => !model.has(index))) {
            const frames = new FrameRuns();
            frames.push(pfn + index, 1);
            store.insert(index, frames);
            model.set(index, pfn + index);
          }
          const into = new FrameRuns();
          store.read(first, first + count - 1, into);
          expect(toList(into)).toEqual(indexes.map((index) => model.get(index)));
        } else if (indexes.every((index) => model.has(index))) {
          expect(toList(store.erase(first, first + count - 1))).toEqual(
            indexes.map((index) => model.get(index)),
          );
          for (const index of indexes) model.delete(index);
        }
        expect(store.empty).toBe(model.size === 0);
        const all = [...store.segments()].flatMap(({ first, frames }) =>
          toList(frames).map((frame, at): [number, number] => [first + at, frame]),
        );
        expect(all).toEqual([...model].sort(([a], [b]) => a - b));
      }
    }),
  );
});

test('keeps a gigabyte that was pinned at once as one segment, cut by what is erased', () => {
  const store = new PinnedStore();
  const frames = new FrameRuns();
  frames.push(1000, 2 ** 18);
  store.insert(5, frames);
  expect([...store.segments()].map(({ first, frames }) => [first, frames.frames])).toEqual([[5, 2 ** 18]]);
  expect(toList(store.erase(105, 106))).toEqual([1100, 1101]);
  expect([...store.segments()].map(({ first, frames }) => [first, frames.pfnOf(0), frames.frames])).toEqual([
    [5, 1000, 100],
    [107, 1102, 2 ** 18 - 102],
  ]);
});

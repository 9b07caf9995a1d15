import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ScatteredOrder } from '../../src/memory/scattered-order.js';

describe('ScatteredOrder', () => {
  test('is a bijection without consecutive neighbours', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 61, max: 5000 })), (size) => {
        const order = new ScatteredOrder(size);
        const frames = Array.from({ length: size }, (_, page) => order.frameOf(page));
        expect([...frames].sort((a, b) => a - b)).toEqual(frames.map((_, frame) => frame));
        expect(frames.map((frame) => order.pageOf(frame))).toEqual(frames.map((_, page) => page));
        expect(frames.findIndex((frame, page) => page > 0 && frame === frames[page - 1]! + 1)).toBe(-1);
      }),
      { numRuns: 300 },
    );
  });

  test('lists the frames of any pages in order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.nat(), fc.nat(), (size, from, length) => {
        const order = new ScatteredOrder(size);
        const page = from % size;
        const count = length % (size - page + 1);
        const listed: number[] = [];
        order.forEach(page, count, (frame) => listed.push(frame));
        expect(listed).toEqual(Array.from({ length: count }, (_, at) => order.frameOf(page + at)));
        const inRuns: number[] = [];
        order.forEachRun(page, count, (frame, frames) => {
          for (let at = 0; at < frames; at++) inRuns.push(frame + at);
        });
        expect(inRuns.sort((a, b) => a - b)).toEqual(listed.sort((a, b) => a - b));
      }),
    );
  });

  test('is computed, and exact, for a petabyte', () => {
    const size = 2 ** 38 + 5;
    const order = new ScatteredOrder(size);
    for (const page of [0, 1, 12, 13, 2 ** 37, size - 2, size - 1]) {
      const frame = order.frameOf(page);
      expect(order.pageOf(frame)).toBe(page);
      expect(frame).toBeGreaterThanOrEqual(0);
      expect(frame).toBeLessThan(size);
    }
  });
});

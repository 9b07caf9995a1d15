/**
 * Anchors the naive model: it has to give the answers that a real kernel gave (and, for the profile rfc-v1, the
 * code of the first patch) before the library may be compared with it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { NaiveIommufd, type TraceHeader, type TraceStep } from '../model/naive-iommufd.js';

describe.each([
  ['traces', 90],
  ['traces-7.3', 130],
])('the naive model on the recorded %s', (folder, least) => {
  const directory = new URL(`../${folder}/`, import.meta.url);
  const traces = readdirSync(directory).filter((name) => name.endsWith('.jsonl'));

  test('there are traces', () => {
    expect(traces.length).toBeGreaterThan(least);
  });

  test.each(traces)('%s', (name) => {
    const lines = readFileSync(new URL(name, directory), 'utf8').trimEnd().split('\n');
    const header: TraceHeader = JSON.parse(lines[0]!);
    const steps: TraceStep[] = lines.slice(1).map((line) => JSON.parse(line));
    const model = new NaiveIommufd(header);
    steps.forEach((step, at) => {
      const { expect: recorded, ...operation } = step;
      expect(model.answer(step), `${name}:${at + 2} ${JSON.stringify(operation)}`).toEqual(recorded);
    });
  });
});

/** What a recording says of the spaces, and what there is, in one form. */
import { expect } from 'vitest';
import type { AreaSnapshot } from '../../src/inspect/snapshot.js';
import type { RecordedArea, ReplayRecording } from '../../src/replay/recording.js';
import type { NamedSpace } from '../../src/replay/replay-space.js';

/** Areas by name of their space, without what only the recording knows. */
export type Picture = Record<
  string,
  (Pick<AreaSnapshot, 'iova' | 'last' | 'source' | 'uptr'> & { prot: string })[]
>;

/** The spaces as they are now. */
export function pictureOf(spaces: Iterable<NamedSpace>): Picture {
  const picture: Picture = {};
  for (const { name, table } of spaces) {
    const { areas: now } = table.snapshot();
    const areas = now.map(({ iova, last, source, uptr, prot }) => ({ iova, last, source, uptr, prot }));
    if (areas.length > 0) picture[name] = areas;
  }
  return picture;
}

/** The spaces after each request of a recording, put together from what the steps changed. */
export function replayed({ spaces, steps }: ReplayRecording): Picture[] {
  const areas = new Map<number, Map<string, RecordedArea>>();
  for (const { id, areas: first } of spaces) areas.set(id, new Map(first.map((area) => [area.iova, area])));
  const pictures: Picture[] = [];
  for (const { space, call, removed = [], added = [] } of steps) {
    const there = areas.get(space ?? 0);
    for (const iova of removed) expect(there?.delete(iova)).toBe(true);
    for (const area of added) {
      expect(there?.has(area.iova)).toBe(false);
      there?.set(area.iova, area);
    }
    if (call.startsWith('the end of') || call.startsWith('translate')) continue;
    const picture: Picture = {};
    for (const { id, name } of spaces) {
      const sorted = [...areas.get(id)!.values()].sort((a, b) => (BigInt(a.iova) < BigInt(b.iova) ? -1 : 1));
      if (sorted.length > 0) {
        picture[name] = sorted.map(({ iova, last, source, uptr, prot }) => {
          return { iova, last, source: source ?? 'user', uptr, prot };
        });
      }
    }
    pictures.push(picture);
  }
  return pictures;
}

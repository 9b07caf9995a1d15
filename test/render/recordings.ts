/**
 * Recordings for tests.
 */
import type {
  RecordedArea,
  RecordedSpace,
  RecordedStep,
  ReplayRecording,
} from '../../src/replay/recording.js';

/** A space without anything in it. */
export const SPACE: RecordedSpace = {
  id: 1,
  name: 'container 0x1',
  areas: [],
  setting: {
    alignment: 4096,
    reserved: [{ start: '0xfee00000', last: '0xfeefffff', owner: 'Endpoint 32' }],
    allowed: [],
    domains: [{ pageSizes: ['0x1000', '0x200000'], aperture: { start: '0x0', last: '0xffffffffff' } }],
  },
};

/** A recording of some steps on `SPACE`. */
export function recordingOf(
  steps: readonly RecordedStep[],
  more: Partial<ReplayRecording> = {},
): ReplayRecording {
  return {
    format: 1,
    log: 'guest.log',
    profile: 'linux-6.12',
    skipped: 0,
    spaces: [SPACE],
    steps,
    skippedDivergences: [],
    figures: {
      operations: steps.length,
      translations: 0,
      divergences: steps.filter(({ diverges }) => diverges).length,
      malformed: 0,
      notReplayed: 0,
      peakAreas: 0,
      peakPinnedBytes: '0x0',
      largestHole: '0x10000000000000000',
      fragmentation: 0,
    },
    ...more,
  };
}

/** A step that answered OK. */
export function stepOf(line: number, call: string, more: Partial<RecordedStep> = {}): RecordedStep {
  return { line, space: 1, call, logged: 'OK', answered: 'OK', diverges: false, pinnedPages: 0, ...more };
}

/**
 * A recording in which every map is of other addresses, all of 64 bits, and few of them close to each other: nothing
 * in it can be told in fewer bytes because it came before. Every tenth step is refused with a reason of its own.
 */
export function scatteredRecording(length: number): ReplayRecording {
  // A multiplicative generator is enough to scatter addresses, and the same each time.
  let state = 0x9e3779b97f4a7c15n;
  const next = (limit: bigint) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
    return (state >> 12n) % limit;
  };
  const live: RecordedArea[] = [];
  const taken = new Set<bigint>();
  const steps: RecordedStep[] = [];
  for (let at = 0; at < length; at++) {
    const line = 3 * at + 1;
    if (at % 10 === 9) {
      const where = `[0x${next(1n << 48n).toString(16)}, 0x${((1n << 63n) + next(1n << 48n)).toString(16)}]`;
      const reason = `an area at 0x${next(1n << 52n).toString(16)} ends outside of that range`;
      steps.push(
        stepOf(line, `unmap ${where}`, { logged: 'ENOENT', answered: 'ENOENT', reason, pinnedPages: at }),
      );
      continue;
    }
    const oldest = live.length > 2000 && at % 2 === 0 ? live.shift() : undefined;
    if (oldest !== undefined) {
      const call = `unmap [${oldest.iova}, ${oldest.last}]`;
      steps.push(stepOf(line, call, { pinnedPages: at, removed: [oldest.iova] }));
      continue;
    }
    let slot = next(1n << 50n);
    while (taken.has(slot)) slot = next(1n << 50n);
    taken.add(slot);
    const iova = `0x${(slot << 14n).toString(16)}`;
    const last = `0x${((slot << 14n) + 4096n * (1n + next(4n)) - 1n).toString(16)}`;
    const uptr = `0x${(0x7f0000000000n + (next(1n << 26n) << 12n)).toString(16)}`;
    const area: RecordedArea = { iova, last, uptr, prot: 'rw', pages: at + 1 };
    live.push(area);
    steps.push(stepOf(line, `map [${iova}, ${last}] from user ${uptr}`, { pinnedPages: at, added: [area] }));
  }
  return recordingOf(steps);
}

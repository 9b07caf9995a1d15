/**
 * The worlds in which calls are brought together, with all that can be asked of them by name.
 */
import { type Exploration, explore, type Meeting, type Race, replay } from './explore.js';
import { IOMMUFD_CALLS, IOMMUFD_RACES, IOMMUFD_STARTS, IommufdScene } from './iommufd-scene.js';
import type { Call, Scene } from './run.js';
import type { Step } from './schedule.js';
import { TABLE_CALLS, TABLE_RACES, TABLE_STARTS, TableScene } from './table-scene.js';

/** A kind of scene, the ways it can begin, and the calls that can be made in it. */
export interface World {
  readonly starts: readonly string[];
  readonly calls: readonly string[];
  /** The races that are allowed, by their reasons. */
  readonly races: readonly string[];
  /** Explores all schedules of some calls with at most so many early steps. */
  explore(start: string, calls: readonly string[], mostEarly: number): Promise<Exploration>;
  /** Runs one schedule to its end; what is wrong with what it leads to, or `undefined`. */
  replay(start: string, calls: readonly string[], steps: readonly Step[]): Promise<string | undefined>;
}

function worldOf<Start extends string, S extends Scene>(
  starts: Readonly<Record<Start, string>>,
  setUp: (start: Start) => Promise<S>,
  calls: readonly Call<S>[],
  races: readonly Race<S>[],
): World {
  const startNamed = (name: string): Start => {
    const isStart = (text: string): text is Start => text in starts;
    if (!isStart(name)) throw new Error(`nothing starts as '${name}'`);
    return name;
  };
  const meeting = (start: string, names: readonly string[]): Meeting<S> => {
    const begin = startNamed(start);
    const meet = names.map((name) => {
      const call = calls.find((candidate) => candidate.name === name);
      if (call === undefined) throw new Error(`there is no call '${name}'`);
      return call;
    });
    return { setUp: () => setUp(begin), calls: meet, races };
  };
  return {
    starts: Object.keys(starts),
    calls: calls.map(({ name }) => name),
    races: races.map(({ reason }) => reason),
    explore: (start, names, mostEarly) => explore(meeting(start, names), mostEarly),
    replay: (start, names, steps) => replay(meeting(start, names), steps),
  };
}

/** One table, and one iommufd. */
export const WORLDS = {
  table: worldOf(TABLE_STARTS, TableScene.setUp, TABLE_CALLS, TABLE_RACES),
  iommufd: worldOf(IOMMUFD_STARTS, IommufdScene.setUp, IOMMUFD_CALLS, IOMMUFD_RACES),
} as const;

/** All choices of so many calls; of two also the same one twice. */
export function combinations(names: readonly string[], size: 2 | 3): string[][] {
  const pairs = names.flatMap((first, at) => names.slice(at).map((second) => [first, second]));
  if (size === 2) return pairs;
  return pairs.flatMap(([first = '', second = '']) => {
    const rest = first === second ? [] : names.slice(names.indexOf(second) + 1);
    return rest.map((third) => [first, second, third]);
  });
}

/** Calls on tables and accesses, each on a state in which it has something to undo. */
import type { FaultPoint, IoPagetable } from 'io-pagetable';
import type { FaultCounter, FaultScenario } from 'io-pagetable/testing';
import { FaultWorld, type FaultWorldOptions, PAGE, READ_ONLY, type Rich, rich, SCATTERED, USER } from './fault-world.js';

/** A scenario of the sweep. */
export interface Scenario {
  readonly name: string;
  /** The kernel's contract says that the call cannot fail: it has no fault point. */
  readonly neverFails?: boolean;
  readonly prepare: (faults: FaultCounter) => Promise<FaultScenario>;
}

interface Traits {
  readonly neverFails?: boolean;
  readonly partial?: readonly FaultPoint[];
}

/** A call on a rich table with 0 to 3 domains. */
function onRich(
  name: string,
  domains: number,
  call: (setting: Rich) => Promise<unknown>,
  { neverFails = false, ...traits }: Traits & FaultWorldOptions = {},
): Scenario {
  return {
    name,
    neverFails,
    prepare: async (faults) => {
      const setting = await rich(faults, domains, traits);
      const { world } = setting;
      return { ...traits, call: () => call(setting), state: () => world.state(), check: () => world.check() };
    },
  };
}

/** A call on what `build` makes of an empty world. */
function onWorld(
  name: string,
  build: (world: FaultWorld) => Promise<() => Promise<unknown>>,
  { neverFails = false, ...traits }: Traits & FaultWorldOptions = {},
): Scenario {
  return {
    name,
    neverFails,
    prepare: async (faults) => {
      const world = new FaultWorld(faults, traits);
      const call = await build(world);
      return { ...traits, call, state: () => world.state(), check: () => world.check() };
    },
  };
}

const maps: Scenario[] = [0, 1, 2, 3].flatMap((domains) => [
  onRich(`map at an IOVA, ${domains} domains`, domains, ({ table }) =>
    table.map({ iova: 0x40000n, uptr: SCATTERED + 8n * PAGE, length: 5n * PAGE, prot: 'rw' }),
  ),
  onRich(`map anywhere, ${domains} domains`, domains, ({ table }) =>
    table.map({ uptr: READ_ONLY, length: 3n * PAGE, prot: 'r' }),
  ),
  onRich(`copy of four areas, ${domains} domains`, domains, async ({ world, table }) => {
    const [target] = world.tables.slice(2);
    const from = target ?? world.table();
    await fourParts(from);
    return table.copy({ from, srcIova: 0x1000n, iova: 0x40000n, length: 8n * PAGE, prot: 'r' });
  }),
]);

/** Four adjacent areas from 0x1000 on, of eight pages together, once. */
async function fourParts(table: IoPagetable): Promise<void> {
  if (table.areaCount > 0) return;
  for (const [at, uptr] of [USER, SCATTERED + 4n * PAGE, READ_ONLY, USER + 32n * PAGE].entries()) {
    await table.map({ iova: 0x1000n + BigInt(at) * 2n * PAGE, uptr, length: 2n * PAGE, prot: 'r' });
  }
}

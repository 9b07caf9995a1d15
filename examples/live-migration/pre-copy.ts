/**
 * Pre-copy: all pages, then, round by round, those that were written meanwhile, until few enough are left to stop the
 * devices for.
 */
import type { Host } from './host.js';

/** How to migrate. */
export interface PreCopyOptions {
  readonly from: Host;
  readonly to: Host;
  /** Called after each page while devices run: time has passed. */
  readonly whileRunning: () => void;
  /** Stop the devices once a round would have at most so many pages … */
  readonly fewPages: number;
  /** … or after so many rounds, for devices that write faster than pages are copied. */
  readonly mostRounds: number;
}

/** What was copied. */
export interface Migration {
  /** Pages copied in each round while devices ran. */
  readonly rounds: readonly number[];
  /** Pages copied while they stood still. */
  readonly stoppedFor: number;
}

/** Brings the memory of one host to another. When it is done both are equal, and devices have to go on over there. */
export async function preCopy(options: PreCopyOptions): Promise<Migration> {
  const { from, to, whileRunning, fewPages, mostRounds } = options;
  const copy = async (pages: readonly number[], afterEach: () => void) => {
    for (const page of pages) {
      await to.writePage(page, await from.readPage(page));
      afterEach();
    }
  };

  // What is written from here on is dirty, also what is written to a page that is not copied yet.
  await from.trackDirty(true);
  const rounds: number[] = [];
  let dirty = Array.from({ length: from.pages }, (_, page) => page);
  while (dirty.length > fewPages && rounds.length < mostRounds) {
    await copy(dirty, whileRunning);
    rounds.push(dirty.length);
    dirty = await from.takeDirty();
  }
  await copy(dirty, () => {});
  await from.trackDirty(false);
  return { rounds, stoppedFor: dirty.length };
}

/**
 * Running a group in a process of its own, or in two that take turns.
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { Figure } from '../results.js';
import { PROJECT } from './build.js';
import type { GroupOptions } from './group.js';

/** A million areas, with a million promises waiting on top. */
const HEAP_MEGABYTES = 8192;

/** What a process that takes turns sends when its turn is over; a list of figures is the end of its last one. */
export const TURN_OVER = 'turn over';

function forkRun(script: string, name: string, flags: readonly string[]): ChildProcess {
  return fork(script, [name, ...flags], {
    cwd: PROJECT,
    execArgv: ['--expose-gc', `--max-old-space-size=${HEAP_MEGABYTES}`],
    serialization: 'advanced',
  });
}

function flagsOf({ quick, profile }: GroupOptions): string[] {
  return [...(quick ? ['--quick'] : []), ...(profile ? ['--profile'] : [])];
}

/** The figures of a process; rejects if it ends without. */
function figuresOf(child: ChildProcess, name: string): Promise<Figure[]> {
  return new Promise((resolve, reject) => {
    let figures: Figure[] | undefined;
    child.on('message', (message: Figure[] | string) => {
      if (typeof message !== 'string') figures = message;
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (figures !== undefined && code === 0) resolve(figures);
      else reject(new Error(`the group '${name}' ended with ${signal ?? `exit status ${code}`}`));
    });
  });
}

/** Runs a group; `script` is the compiled `run-group`. */
export function forkGroup(script: string, name: string, options: GroupOptions): Promise<Figure[]> {
  return figuresOf(forkRun(script, name, flagsOf(options)), name);
}

/** What came of a group that two trees ran in turns. */
export interface Pair {
  readonly ours: Figure[];
  /** `undefined`: the other tree cannot run this group, for instance as it lacks a call. */
  readonly theirs: Figure[] | undefined;
}

/**
 * Runs a group in two processes, one for each tree. Only one runs at any time, and they take turns round by round: what
 * the machine does meanwhile it does to both.
 */
export async function forkPair(
  scripts: { readonly ours: string; readonly theirs: string },
  name: string,
  options: GroupOptions,
  theirsFirst: boolean,
): Promise<Pair> {
  const flags = [...flagsOf(options), '--takes-turns'];
  const ours = forkRun(scripts.ours, name, flags);
  const theirs = forkRun(scripts.theirs, name, flags);
  const ending = Promise.all([figuresOf(ours, name), figuresOf(theirs, name).catch(() => undefined)]);
  const over = alternate(theirsFirst ? [theirs, ours] : [ours, theirs]);
  try {
    const [own, other] = await ending;
    await over;
    return { ours: own, theirs: other };
  } finally {
    ours.kill();
    theirs.kill();
  }
}

/** Gives the processes their turns until both have ended. */
async function alternate(children: readonly ChildProcess[]): Promise<void> {
  const running = new Set(children);
  for (const child of children) child.on('exit', () => running.delete(child));
  while (running.size > 0) {
    for (const child of running) {
      const over = turnOver(child);
      if (child.connected) child.send(TURN_OVER);
      await over;
    }
  }
}

function turnOver(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      child.off('message', onMessage);
      child.off('exit', done);
      resolve();
    };
    // Its figures are no end of a turn: it ends after them.
    const onMessage = (message: unknown) => message === TURN_OVER && done();
    child.on('message', onMessage);
    child.on('exit', done);
    if (child.exitCode !== null || child.signalCode !== null) done();
  });
}

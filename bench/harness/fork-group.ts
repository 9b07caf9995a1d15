/**
 * Running a group in a process of its own.
 */
import { fork } from 'node:child_process';
import type { Figure } from '../results.js';
import { PROJECT } from './build.js';
import type { GroupOptions } from './group.js';

/** A million areas, with a million promises waiting on top. */
const HEAP_MEGABYTES = 8192;

/** Runs a group; `script` is the compiled `run-group`. */
export function forkGroup(script: string, name: string, { quick, profile }: GroupOptions): Promise<Figure[]> {
  const flags = [...(quick ? ['--quick'] : []), ...(profile ? ['--profile'] : [])];
  const child = fork(script, [name, ...flags], {
    cwd: PROJECT,
    execArgv: ['--expose-gc', `--max-old-space-size=${HEAP_MEGABYTES}`],
    serialization: 'advanced',
  });
  return new Promise((resolve, reject) => {
    let figures: Figure[] | undefined;
    child.on('message', (message: Figure[]) => (figures = message));
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (figures !== undefined && code === 0) resolve(figures);
      else reject(new Error(`the group '${name}' ended with ${signal ?? `exit status ${code}`}`));
    });
  });
}

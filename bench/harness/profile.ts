/**
 * A sampled CPU profile of a step, cut down to the functions that took most of it.
 */
import { type Profiler, Session } from 'node:inspector/promises';

/** A function and what part of the samples ended in it. */
export interface ProfileEntry {
  /** Name, file and line. */
  readonly name: string;
  /** Of all samples, 0 to 1. */
  readonly share: number;
}

const MOST_ENTRIES = 12;
const SAMPLE_MICROSECONDS = 100;

/** Runs a step under the profiler; its functions by the time spent in themselves, most first. */
export async function profileOf(step: () => Promise<unknown>): Promise<ProfileEntry[]> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_MICROSECONDS });
  await session.post('Profiler.start');
  await step();
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  return topOf(profile);
}

function topOf(profile: Profiler.Profile): ProfileEntry[] {
  const hits = new Map<string, number>();
  let all = 0;
  for (const { callFrame, hitCount = 0 } of profile.nodes) {
    const { functionName, url, lineNumber } = callFrame;
    const file = url === '' ? '' : ` ${url.slice(url.lastIndexOf('/') + 1)}:${lineNumber + 1}`;
    const name = `${functionName === '' ? '(anonymous)' : functionName}${file}`;
    hits.set(name, (hits.get(name) ?? 0) + hitCount);
    all += hitCount;
  }
  return [...hits]
    .map(([name, count]) => ({ name, share: count / all }))
    .sort((a, b) => b.share - a.share)
    .slice(0, MOST_ENTRIES);
}

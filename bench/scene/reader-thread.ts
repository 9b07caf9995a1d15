/**
 * A worker thread that translates through another thread's domain, as fast as it can, and says how long that took.
 */
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type RadixHandle, RadixReader } from './core.js';

/** What the thread is given. */
export interface ReaderWork {
  readonly domain: RadixHandle;
  /** Addresses that stay mapped, each a double, in the order in which they are translated. */
  readonly addresses: SharedArrayBuffer;
  /** Rounds that count; as many more come first, in which code is compiled. */
  readonly rounds: number;
  /** Translations of a round. */
  readonly calls: number;
}

/** Translations between two quiescent points: about what a request of a device takes. */
const BETWEEN_POINTS = 16;

const { domain, addresses, rounds, calls } = workerData as ReaderWork;
const reader = RadixReader.from(domain);
const iovas = new Float64Array(addresses);
let at = 0;

function translate(count: number): void {
  let found = 0;
  for (let call = 1; call <= count; call++) {
    if (reader.iovaToPhys(iovas[at]!) !== undefined) found++;
    if (++at === iovas.length) at = 0;
    if (call % BETWEEN_POINTS === 0) reader.quiescent();
  }
  reader.quiescent();
  if (found !== count) throw new Error(`${count - found} of ${count} addresses were not translated`);
}

/** Nanoseconds that this thread was given a processor; `undefined` where the system does not say. */
function processorTime(): number | undefined {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]);
  } catch {
    return undefined;
  }
}

/** Nanoseconds of a translation, without the time that the processor was given to others. */
function timeOfRound(): number {
  const start = performance.now();
  const processorStart = processorTime();
  translate(calls);
  const passed = (performance.now() - start) * 1e6;
  const processorEnd = processorTime();
  if (processorStart === undefined || processorEnd === undefined) return passed / calls;
  return Math.min(passed, processorEnd - processorStart) / calls;
}

parentPort?.postMessage('started');
const times: number[] = [];
for (let round = -rounds; round < rounds; round++) {
  const time = timeOfRound();
  if (round >= 0) times.push(time);
}
reader.close();
parentPort?.postMessage(times);

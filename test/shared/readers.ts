/** Starting device models in worker threads. */
import { Worker } from 'node:worker_threads';
import type { ReaderData, ReaderReport } from './scene.js';

/** A running device model. */
export interface RunningReader {
  /** What it did, once it has ended; rejects with what it found wrong. */
  readonly report: Promise<ReaderReport>;
  /** Resolves once its thread is gone. */
  readonly ended: Promise<void>;
}

/** Starts a device model. */
export function startReader(workerData: ReaderData): RunningReader {
  const worker = new Worker(new URL('./reader-thread.mjs', import.meta.url), {
    workerData,
  });
  const report = new Promise<ReaderReport>((resolve, reject) => {
    worker.on('message', resolve);
    worker.on('error', reject);
    worker.on('exit', (code) => reject(new Error(`the reader ended with ${code} and no report`)));
  });
  // A failure is reported where the report is awaited, whenever that is.
  report.catch(() => undefined);
  return { report, ended: new Promise((resolve) => worker.on('exit', () => resolve())) };
}

/** Calls of a device's own code: what it throws is reported, and what it must not do meanwhile is known. */
import { isThenable } from '../operation.js';

/** Calls handlers, and knows which kind is running. */
export class DeviceCalls {
  readonly #report: (error: unknown) => void;
  #reading = 0;

  /** @param report - told of what a handler throws, or rejects with */
  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  /** Whether a handler runs whose result the client is waiting for. */
  get answering(): boolean {
    return this.#reading > 0;
  }

  /** Runs a handler whose result the client waits for. @throws what it throws, which is reported, too */
  read<T>(handler: () => T): T {
    this.#reading += 1;
    try {
      return handler();
    } catch (error) {
      this.#report(error);
      throw error;
    } finally {
      this.#reading -= 1;
    }
  }

  /** Runs a handler that begins something. @throws what it throws, which is reported, as is a rejection */
  write(handler: () => unknown): void {
    let answer: unknown;
    try {
      answer = handler();
    } catch (error) {
      this.#report(error);
      throw error;
    }
    if (isThenable(answer)) answer.then(undefined, this.#report);
  }

  /** Reports an error that nobody else is told of. */
  failed(error: unknown): void {
    this.#report(error);
  }

  /** Runs a handler; nobody else is told of what it throws. */
  notify(handler: () => unknown): void {
    try {
      this.write(handler);
    } catch {
      // Reported.
    }
  }
}

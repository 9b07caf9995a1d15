/** What prints logs: the package `debug`. Bundles for browsers have `browser-logger.ts` instead, by `package.json`. */
import createDebug from 'debug';

/** Prints lines of one namespace. Callers test `enabled` first, so nothing is formatted while it is off. */
export interface Logger {
  (format: string, ...values: readonly unknown[]): void;
  readonly enabled: boolean;
}

/** The logger of a namespace. */
export function createLogger(namespace: string): Logger {
  return createDebug(namespace);
}

/**
 * `logger.ts` as bundles for browsers have it: `debug` is loaded only for who asks for logs, so that all others need not
 * load it.
 *
 * Who asks for them is known when the page loads, as `debug` itself reads it then: by `localStorage.debug`, which
 * `debug.enable` sets, or by the variable `DEBUG`. Lines from before `debug` is there are kept for it, in order.
 */
import type { Logger } from './logger.js';

type CreateDebug = (namespace: string) => Logger;

let createDebug: CreateDebug | undefined;
let kept: (() => void)[] = [];
let on = /\biopt\b|\*/.test(wanted());
if (on) void load();

/** The logger of a namespace. */
export function createLogger(namespace: string): Logger {
  let printing: Logger | undefined;
  const debug = () => {
    if (printing === undefined && createDebug !== undefined) printing = createDebug(namespace);
    return printing;
  };
  const log = (format: string, ...values: readonly unknown[]) => {
    const print = debug();
    if (print !== undefined) print(format, ...values);
    else if (on) kept.push(() => debug()?.(format, ...values));
  };
  return Object.defineProperty(log, 'enabled', { get: () => on && (debug()?.enabled ?? true) }) as Logger;
}

async function load(): Promise<void> {
  try {
    const { default: loaded } = await import('debug');
    createDebug = loaded;
    for (const print of kept) print();
  } catch (error) {
    on = false;
    console.warn('io-pagetable: what prints logs could not be loaded', error);
  }
  kept = [];
}

/** What of a browser, or of Electron, says which namespaces are asked for. */
interface Surroundings {
  readonly localStorage?: { getItem(key: string): string | null };
  readonly process?: { readonly env?: { readonly DEBUG?: string } };
}

/** The namespaces that are asked for, as `debug` finds them. */
function wanted(): string {
  const { process } = globalThis as Surroundings;
  return stored() || (process?.env?.DEBUG ?? '');
}

function stored(): string {
  try {
    const { localStorage } = globalThis as Surroundings;
    return localStorage?.getItem('debug') || localStorage?.getItem('DEBUG') || '';
  } catch {
    // The page may not store anything.
    return '';
  }
}

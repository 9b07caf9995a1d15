/** The logger of bundles for browsers: what prints logs is loaded for who asks for them, and misses no line. */
import { format } from 'node:util';
import createDebug from 'debug';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

let lines: string[];
const { log } = createDebug;

beforeEach(() => {
  lines = [];
  createDebug.log = (...printed: unknown[]) => {
    lines.push(format(...printed));
  };
  vi.resetModules();
});

afterEach(() => {
  createDebug.disable();
  createDebug.log = log;
  vi.unstubAllGlobals();
  vi.unstubAllEnvs();
  vi.doUnmock('debug');
});

/** The module as a page loads it that has `stored` in its storage. `debug` has read that, too, by the time it is used. */
async function pageWith(stored: Record<string, string>) {
  vi.stubGlobal('localStorage', { getItem: (key: string) => stored[key] ?? null });
  const loading = vi.fn(() => {
    createDebug.enable(stored.debug ?? stored.DEBUG ?? process.env.DEBUG ?? '');
    return { default: createDebug };
  });
  vi.doMock('debug', loading);
  const { createLogger } = await import('../src/browser-logger.js');
  return { createLogger, loading };
}

async function loaded(): Promise<void> {
  await vi.dynamicImportSettled();
}

test('nobody asks: all is off, and nothing is loaded', async () => {
  const { createLogger, loading } = await pageWith({});
  const logger = createLogger('iopt:map');
  expect(logger.enabled).toBe(false);
  logger('not printed');
  await loaded();
  expect(logger.enabled).toBe(false);
  expect(loading).not.toHaveBeenCalled();
  expect(lines).toEqual([]);
});

test('somebody asks for the logs of another package: nothing is loaded', async () => {
  const { createLogger, loading } = await pageWith({ debug: 'express' });
  await loaded();
  expect(createLogger('iopt:map').enabled).toBe(false);
  expect(loading).not.toHaveBeenCalled();
});

test.each([
  ['localStorage.debug', { debug: 'iopt:map,iopt:copy' }, ''],
  ['localStorage.DEBUG', { DEBUG: 'iopt:map,iopt:copy' }, ''],
  ['the variable DEBUG', {}, 'iopt:map,iopt:copy'],
])(
  '%s: the first lines are printed, too, in their order, and none of others',
  async (_, stored, variable) => {
    vi.stubEnv('DEBUG', variable);
    const { createLogger } = await pageWith(stored);
    const [map, copy, unmap] = ['iopt:map', 'iopt:copy', 'iopt:unmap'].map(createLogger);
    expect(map?.enabled).toBe(true);
    map?.('line %d', 1);
    copy?.('line %d', 2);
    unmap?.('not printed');
    map?.('line %d', 3);
    expect(lines).toEqual([]);
    await loaded();
    map?.('line %d', 4);
    unmap?.('not printed');
    expect(lines.map((line) => /iopt:\w+ line \d/.exec(line)?.[0])).toEqual([
      'iopt:map line 1',
      'iopt:copy line 2',
      'iopt:map line 3',
      'iopt:map line 4',
    ]);
    expect([map?.enabled, copy?.enabled, unmap?.enabled]).toEqual([true, true, false]);
  },
);

test('once it is there, it can be switched off and on', async () => {
  const { createLogger } = await pageWith({ debug: '*' });
  const logger = createLogger('iopt:map');
  await loaded();
  createDebug.disable();
  expect(logger.enabled).toBe(false);
  createDebug.enable('iopt:*');
  expect(logger.enabled).toBe(true);
});

test('storage is forbidden: all is off', async () => {
  vi.stubGlobal('localStorage', {
    getItem: () => {
      throw new Error('SecurityError');
    },
  });
  const { createLogger } = await import('../src/browser-logger.js');
  expect(createLogger('iopt:map').enabled).toBe(false);
});

test('it cannot be loaded: that is said, and logs are off', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  vi.stubGlobal('localStorage', { getItem: () => 'iopt:*' });
  vi.doMock('debug', () => {
    throw new Error('offline');
  });
  const { createLogger } = await import('../src/browser-logger.js');
  const logger = createLogger('iopt:map');
  logger('lost');
  await loaded();
  expect(warn).toHaveBeenCalledOnce();
  expect(logger.enabled).toBe(false);
  logger('lost');
  expect(lines).toEqual([]);
  warn.mockRestore();
});

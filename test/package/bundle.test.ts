/** What a bundler makes of the library: who imports one thing gets that, and the core runs where there is no Node. */
import { fileURLToPath } from 'node:url';
import { type BuildResult, build, type Metafile } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { loadingOf } from '../../scripts/loading.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

const alias = {
  'io-pagetable': `${root}src/index.ts`,
  'io-pagetable/render': `${root}src/render/index.ts`,
  'io-pagetable/replay': `${root}src/replay/index.ts`,
  'io-pagetable/testing': `${root}src/testing/index.ts`,
  'io-pagetable/uapi': `${root}src/uapi/index.ts`,
};

/** Bundles a program for browsers. A Node-only import makes it fail, as there it cannot be resolved. */
async function bundle(program: string): Promise<{ sources: string[]; output: string }> {
  const result: BuildResult & { metafile: Metafile } = await build({
    stdin: { contents: program, resolveDir: root, loader: 'ts' },
    absWorkingDir: root,
    alias,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    treeShaking: true,
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const [output] = Object.values(result.metafile.outputs);
  const sources = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  return { sources: sources.map(([path]) => path), output: result.outputFiles?.[0]?.text ?? '' };
}

describe('tree shaking', () => {
  test('an import for its side effects is nothing: there are none', async () => {
    for (const entry of ['io-pagetable', 'io-pagetable/render', 'io-pagetable/uapi']) {
      const { sources } = await bundle(`import '${entry}';`);
      expect(sources, entry).toEqual([]);
    }
  });

  test('an import of nothing leaves nothing of the library itself', async () => {
    const { output } = await bundle(`import * as all from 'io-pagetable'; export const one = 1;`);
    expect(output).not.toContain('class ');
  });

  test('a domain comes without tables, contexts and logs', async () => {
    const { sources, output } = await bundle(
      `import { RadixDomain } from 'io-pagetable'; console.log(new RadixDomain());`,
    );
    expect(sources).toContain('src/domain/radix-domain.ts');
    expect(
      sources.filter((path) => /^src\/(iommufd|table|access|replay|testing|uapi|render)\//.test(path)),
    ).toEqual([]);
    expect(sources).not.toContain('src/io-pagetable.ts');
    expect(sources.filter((path) => path.startsWith('node_modules/'))).toEqual([]);
    expect(output).not.toContain('class Iommufd');
  });

  test('who brings a memory does not get the one of arrays and buffers', async () => {
    const { sources } = await bundle(`
      import { ForwardingMemory, IoPagetable, IoptAccess } from 'io-pagetable';
      const table = new IoPagetable({ memory: new ForwardingMemory(globalThis.memory) });
      await new IoptAccess({ needsPin: false }).attach(table);
      table.check();
    `);
    expect(sources).toContain('src/memory/forwarding-memory.ts');
    const own = /^src\/memory\/(process-memory|physical-memory|page-content|memory-region|pin-counts)\.ts$/;
    expect(sources.filter((path) => own.test(path))).toEqual([]);
  });

  test('a device for programs comes without the test kit', async () => {
    const { sources, output } = await bundle(
      `import { IommufdDevice } from 'io-pagetable/uapi'; console.log(IommufdDevice);`,
    );
    expect(sources).toContain('src/uapi/device.ts');
    expect(sources.filter((path) => /^src\/(testing|replay|render)\//.test(path))).toEqual([]);
    expect(output).not.toMatch(/TEST_|class (Mock|TestDriver|AccessFiles)/);
  });

  test('a table comes without contexts', async () => {
    const { sources } = await bundle(`import { IoPagetable } from 'io-pagetable'; new IoPagetable();`);
    expect(sources).toContain('src/io-pagetable.ts');
    expect(sources.filter((path) => /^src\/(iommufd|replay|testing|uapi|render)\//.test(path))).toEqual([]);
  });
});

describe('what is loaded later', () => {
  const table = () =>
    loadingOf(`export { IoPagetable } from 'io-pagetable';`, { absWorkingDir: root, alias });

  test('is what explains a call', async () => {
    const { first, later } = await table();
    const explains = (path: string) => path.startsWith('src/explain/');
    expect(later.filter(explains).length).toBeGreaterThan(5);
    expect(first.sources.filter(explains)).toEqual([]);
    expect(first.sources).toContain('src/table/map.ts');
  });

  test('or never is what only an IoptAccess does: reading and writing', async () => {
    const { first } = await table();
    expect(first.sources).not.toContain('src/access/transfer.ts');
    expect(first.sources).not.toContain('src/access/area-windows.ts');
  });
});

describe('a bundle for browsers', () => {
  test.each(['io-pagetable', 'io-pagetable/render', 'io-pagetable/replay', 'io-pagetable/uapi'])(
    'of all of %s has no Node-only import',
    async (entry) => {
      const { output } = await bundle(`export * from '${entry}';`);
      expect(output.length).toBeGreaterThan(1000);
      expect(output).not.toMatch(/from ["']node:|require\(["']node:/);
    },
  );

  test('would not be made of something that has one', async () => {
    await expect(bundle(`export * from './src/cli/main.ts';`)).rejects.toThrow('node:fs/promises');
  });
});

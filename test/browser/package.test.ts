/** The built package, bundled for browsers, in Chromium. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launchChromium, watch } from './chromium.js';
import type { Outcome } from './package/program.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
let folder: string;

/** The package as it would be installed: built, and reached by the exports of its package.json. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'io-pagetable-browser-'));
  const installed = join(folder, 'node_modules', 'io-pagetable');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', join(installed, 'dist')];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect([status, stdout]).toEqual([0, '']);
  await cp(join(root, 'package.json'), join(installed, 'package.json'));
  await symlink(join(root, 'node_modules'), join(installed, 'node_modules'));
  await cp(join(root, 'test/browser/package'), folder, { recursive: true });
}, 120_000);

afterAll(async () => {
  if (folder !== undefined) await rm(folder, { recursive: true });
});

async function bundled(program: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(folder, program)],
    absWorkingDir: folder,
    bundle: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}

test('maps, translates, checks, replays and draws in a page', async () => {
  const program = await bundled('program.ts');
  expect(program).not.toMatch(/from ["']node:|require\(["']node:/);
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    const misdeeds = await watch(page);
    await page.goto('about:blank');
    await page.addScriptTag({ content: program });
    const { table, iommufd, log }: Outcome = await page.evaluate('outcome');
    expect(misdeeds.errors).toEqual([]);
    expect(table).toEqual({
      translated: true,
      text: 'a page of a page',
      errno: -17,
      alternatives: 2,
      unmapped: String(0x20_1000),
      pins: 0,
      picture: { svg: expect.stringMatching(/^<svg /), text: expect.stringContaining('2 areas') },
    });
    expect(iommufd).toEqual({ ioas: 1, answer: 0, id: 1 });
    expect(log).toEqual({ requests: 2, divergences: 1, html: expect.stringMatching(/^<!doctype html>/) });
    await page.setContent(table.picture.svg);
    expect(await page.locator('svg').getAttribute('role')).toBe('img');
  } finally {
    await browser.close();
  }
});

test('a worker translates by the tables of a page that is isolated from other origins', async () => {
  const files = new Map([
    ['/', { type: 'text/html', body: '<!doctype html><title>x</title>' }],
    ['/reader.js', { type: 'text/javascript', body: await bundled('reader.ts') }],
  ]);
  const server = createServer(({ url = '' }, response) => {
    const { type, body } = files.get(url) ?? { type: 'text/plain', body: '' };
    response.writeHead(body === '' ? 404 : 200, {
      'content-type': type,
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    response.end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${address.port}/`);
    await page.addScriptTag({ content: await bundled('owner.ts') });
    expect(await page.evaluate('outcome')).toEqual({ isolated: true, seen: 'seen by a worker' });
  } finally {
    await browser.close();
    server.close();
  }
});

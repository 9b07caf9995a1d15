/** The tutorial's device, commands and output, as they stand in the documentation. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, inject, onTestFinished, test } from 'vitest';
import { initramfs } from '../../scripts/guest/initramfs.js';
import { Machine } from '../../scripts/guest/machine.js';
import { PATIENCE } from './guests.js';

const page = readFileSync(new URL('../../docs/first-guest.md', import.meta.url), 'utf8');

/** The text of the only block in this language that has these words. */
function block(language: string, words: string): string {
  const blocks = [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, text]) => text!,
  );
  const [found, ...more] = blocks.filter((text) => text.includes(words));
  expect(more).toEqual([]);
  return found!;
}

/** Runs the tutorial's program; it lies where its imports are found. */
async function serveGreeter(socket: string): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('../.greeter.ts', import.meta.url));
  writeFileSync(file, block('ts', 'GREETING'));
  const server = spawn(process.execPath, ['--import', 'tsx', file, socket], { stdio: 'inherit' });
  onTestFinished(async () => {
    server.kill('SIGKILL');
    rmSync(file);
  });
  while (!existsSync(socket)) {
    if (server.exitCode !== null) throw new Error('the program of the tutorial has ended');
    await setTimeout(20);
  }
  return server;
}

test('the tutorial', async () => {
  const root = inject('root');
  const commands = block('sh', 'cat vendor device');
  const [append] = /mem=\d+M/.exec(block('sh', 'npm run guest -- --append'))!;
  const script = `(${commands}) | while read -r line; do say "$line"; done\n`;
  await using machine = new Machine({
    root,
    initramfs: initramfs(root, { script }),
    iommu: 'none',
    sharedMemory: false,
    append,
    messageTimeout: PATIENCE,
  });
  const socket = machine.socket('greeter');
  const server = await serveGreeter(socket);
  machine.start([socket]);
  expect(await machine.ended()).toMatchObject({ status: 0, reports: '' });
  expect(machine.said).toEqual([...block('text', 'Hello').trimEnd().split('\n'), 'ended']);
  expect(server.exitCode).toBeNull();
  server.kill();
  await once(server, 'exit');
});

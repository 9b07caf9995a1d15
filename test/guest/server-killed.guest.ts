/** The process of a device ends in the middle of everything: the guest reads ones, and QEMU goes on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, inject, onTestFinished, test } from 'vitest';
import { initramfs } from '../../scripts/guest/initramfs.js';
import { Machine } from '../../scripts/guest/machine.js';
import { inside } from './guests.js';

/** The edu device in a process of its own, which listens. */
async function serveElsewhere(socket: string): Promise<ChildProcess> {
  const main = fileURLToPath(new URL('../../examples/edu/main.ts', import.meta.url));
  const server = spawn(process.execPath, ['--import', 'tsx', main, '--socket', socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    server.kill('SIGKILL');
  });
  const [line] = (await once(createInterface({ input: server.stdout }), 'line')) as [string];
  expect(line).toContain(socket);
  return server;
}

test('a server is killed', async () => {
  const root = inject('root');
  const script = `
${inside('edu.sh')}
edu_by identity
say alive
read -r _
edu_by identity
`;
  const image = initramfs(root, { programs: ['edu'], script });
  await using machine = new Machine({
    root,
    initramfs: image,
    iommu: 'none',
    sharedMemory: false,
  });
  const socket = machine.socket('edu');
  const server = await serveElsewhere(socket);
  machine.start([socket]);
  await machine.answer('alive');
  server.kill('SIGKILL');
  await once(server, 'exit');
  machine.tell('');
  expect(await machine.ended()).toMatchObject({ status: 0 });
  expect(machine.said).toEqual(['edu.identity 010000ed', 'alive', 'edu.identity ffffffff', 'ended']);
});

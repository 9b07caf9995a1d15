/** Every example is run as its README says, and what it prints is what has to come out. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

const outcomes: Record<string, string[]> = {
  'live-migration': [
    'round 1: 1024 pages',
    'the device, which wrote 340 records meanwhile, is stopped for 6 pages',
    'both images are equal',
  ],
  'live-update': [
    'the old VMM is charged for 1048576 bytes',
    'a successor that may lock only half of it: ENOMEM',
    'the successor is charged for 1048576 bytes, the old VMM for 0',
    'the old VMM is gone; the successor reads "packet 4"',
    'with memory of the process itself mapped: EINVAL',
    '4 packets, none lost',
  ],
  'peer-to-peer': [
    'two pages of the BAR are mapped at 0x1000; pinned: 0',
    'the card rings, the GPU reads 7',
    'pinning it for the CPU: EINVAL',
    'revoked: the card that rings again runs into a fault of the IOMMU',
    'a new mapping meanwhile: ENODEV',
    'unmapped and mapped again: the GPU reads 9',
  ],
  postcopy: [
    'readSync across pages 5 and 6: EAGAIN; read waits for both',
    'mapSync of pages 4 to 7: EAGAIN, and nothing has changed',
    "map waits for page 4; the device can't see the mapping yet",
    'then all 4 pages are pinned, of which 2 were here already',
    'all 64 pages are here, each fetched once',
  ],
  'virtio-blk-dma': [
    'write of sectors 2 and 3 from IOVA 0x100f00: OK',
    'read of sectors 2 and 3 in pieces of 1000 and 24 bytes: OK',
    'guest RAM has "Written by the guest, across the end of a page."',
    'read into a read-only mapping: IOERR',
    'write from memory that is unmapped: IOERR',
  ],
  'virtio-iommu': [
    'MAP 0x101000 again: INVAL',
    'MAP 0xfee00000: INVAL',
    'DMA: the device read "ping", guest RAM has "pong, by DMA"',
    'UNMAP the first page of 2: RANGE',
    'UNMAP more than is mapped: OK',
    'MAP in domain 7: NOENT',
    'fault of endpoint 1 at 0x103000: no such mapping',
    'fault of endpoint 1 at 0x100000: no domain',
    'Nothing is pinned any more.',
  ],
};

/** These serve devices until they are ended: `test/guest` runs them. */
const servers = ['edu', 'nvme'];

test('no example is left out', () => {
  const examples = readdirSync(`${root}examples`).filter((name) =>
    existsSync(`${root}examples/${name}/main.ts`),
  );
  expect(examples.sort()).toEqual([...Object.keys(outcomes), ...servers].sort());
});

test.each(servers)('%s says how it is used', async (name) => {
  const main = `examples/${name}/main.ts`;
  expect(readFileSync(`${root}examples/${name}/README.md`, 'utf8')).toContain(`npx tsx ${main}`);
  const run = promisify(execFile)(process.execPath, ['--import', 'tsx', main], { cwd: root });
  await expect(run).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`npx tsx ${main} --socket`),
  });
});

test.each(Object.entries(outcomes))('%s', async (name, lines) => {
  const main = `examples/${name}/main.ts`;
  expect(readFileSync(`${root}examples/${name}/README.md`, 'utf8')).toContain(`npx tsx ${main}`);
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', main], { cwd: root });
  const printed = stdout.split('\n');
  expect(printed.filter((line) => lines.includes(line))).toEqual(lines);
});

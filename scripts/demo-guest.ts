/**
 * `npm run demo:guest`: the bug report that started this project, live. A real guest behind `intel-iommu` uses a disk that is a
 * program in TypeScript, and switches itself off. Its QEMU, of today and unchanged, then unmaps the 16 MiB below 4 GiB at
 * once, with pages of the guest's driver in them.
 *
 * Under the profile `rfc-v1` the server answers as the first public patch of 2022, and QEMU prints the line of the report;
 * under `linux`, the default, all goes. Exits with 1 if anything is otherwise.
 */
import { ok, strictEqual } from 'node:assert/strict';
import { NvmeController } from '../examples/nvme/controller.js';
import { MemoryStorage } from '../examples/nvme/storage.js';
import type { TableSnapshot } from '../src/index.js';
import { renderText } from '../src/render/index.js';
import { serve } from '../src/vfio-user/index.js';
import { prepareChroot } from './guest/chroot.js';
import { initramfs } from './guest/initramfs.js';
import { Machine } from './guest/machine.js';
import { Qmp } from './guest/qmp.js';

type Profile = 'linux' | 'rfc-v1';

/** What QEMU unmaps at once. */
const UNMAPPED = { iova: 0xff000000n, length: 0x1000000n };
/** The line of the report: a container, the range, and ENOENT. */
const THE_LINE =
  /vfio_container_dma_unmap\(0x[0-9a-f]+, 0xff000000, 0x1000000\) = -2 \(No such file or directory\)/;

/** The 256 KiB of firmware that QEMU then maps: DMA_MAP is command 2 of vfio-user. */
const ADDRESS_IN_USE = /error reply on async request: command 2 error Address already in use/;

const print = (text = '') => console.log(text);
const indent = (text: string) => text.replaceAll(/^(?=.)/gm, '  ');

function heading(text: string): void {
  print(`\n${text}\n${'='.repeat(text.length)}\n`);
}

/** The guest's driver reads, and leaves what it has mapped for next time; then the machine is switched off. */
const SCRIPT = `
await test -b /dev/nvme0n1
dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16
say using
read -r _
`;

/** How many areas lie within what is going to be unmapped. */
function areasWithin({ areas }: TableSnapshot): number {
  const last = UNMAPPED.iova + UNMAPPED.length - 1n;
  return areas.filter((area) => BigInt(area.iova) >= UNMAPPED.iova && BigInt(area.last) <= last).length;
}

interface Run {
  readonly before: TableSnapshot;
  readonly after: TableSnapshot;
  /** What QEMU printed. */
  readonly reports: string;
}

async function runGuest(root: string, profile: Profile): Promise<Run> {
  const controller = new NvmeController(new MemoryStorage(4 << 20));
  await using machine = new Machine({
    root,
    initramfs: initramfs(root, { script: SCRIPT }),
    iommu: 'intel-iommu',
    sharedMemory: false,
    control: true,
    // A busy machine decides nothing.
    messageTimeout: 120_000,
  });
  const socket = machine.socket('nvme');
  await using _server = await serve(controller.pci, { socket, profile, descriptors: 'never' });
  machine.start([socket]);
  const qmp = await Qmp.connect(machine.controlSocket);
  await machine.answer('using');
  const { table } = controller.pci.dma;
  ok(table !== undefined, 'QEMU has gone');
  const before = table.snapshot();
  machine.tell('');
  // Switched off, and yet there: what QEMU has unmapped and mapped since can be seen.
  await qmp.event('SHUTDOWN');
  const after = table.snapshot();
  table.check();
  qmp.send('quit');
  const { reports } = await machine.ended();
  return { before, after, reports };
}

/** A report of many lines: those at its begin and its end. */
function abridged(text: string): string {
  const lines = text.trimEnd().split('\n');
  const [first, last] = [4, 4];
  if (lines.length <= first + last + 1) return lines.join('\n');
  const left = `… ${lines.length - first - last} more lines …`;
  return [...lines.slice(0, first), left, ...lines.slice(-last)].join('\n');
}

async function show(root: string, profile: Profile): Promise<Run> {
  const run = await runGuest(root, profile);
  print('The IOVA space of the disk while the guest uses it:\n');
  print(indent(renderText(run.before)));
  print(
    `\nThe guest switches itself off, with ${areasWithin(run.before)} live pages in [0xff000000, 0xffffffff]. QEMU says:\n`,
  );
  print(indent(run.reports === '' ? 'nothing' : abridged(run.reports)));
  print('\nThe IOVA space then:\n');
  print(indent(renderText(run.after)));
  ok(areasWithin(run.before) > 0, 'the driver has mapped nothing where QEMU unmaps');
  return run;
}

const root = prepareChroot(print);
heading('Under rfc-v1, the first public patch of March 2022');
const old = await show(root, 'rfc-v1');
ok(THE_LINE.test(old.reports), 'QEMU does not print the line of the report');
ok(ADDRESS_IN_USE.test(old.reports), 'QEMU can map its firmware, although pages are there');
ok(areasWithin(old.after) >= areasWithin(old.before), 'pages have gone, although their unmap was refused');
heading('Under linux, the default');
const now = await show(root, 'linux');
strictEqual(now.reports, '', 'QEMU complains');
heading('The line of the bug report');
print(THE_LINE.exec(old.reports)![0]);
print(
  `under rfc-v1: refused, ${areasWithin(old.before)} live pages stay, and then nothing can be mapped there`,
);
print(`under linux: ${areasWithin(now.before)} live pages unmapped, and nobody complains`);

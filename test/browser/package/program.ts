// What a page may do with the package; it is bundled from the built package and run in Chromium.
import {
  deviceRead,
  deviceWrite,
  IommuError,
  Iommufd,
  IoPagetable,
  IoptAccess,
  ProcessMemory,
  RadixDomain,
} from 'io-pagetable';
import { renderHtml, renderSvg, renderText } from 'io-pagetable/render';
import { Replayer, ReplayRecorder, readLog } from 'io-pagetable/replay';
import { IommufdDevice } from 'io-pagetable/uapi';

const GIB = 1n << 30n;
const bytes = new TextEncoder().encode('a page of a page');

/** Maps, translates, lets a device and a CPU touch the memory, and unmaps. */
async function table() {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: 0x40_0000n });
  const iopt = new IoPagetable({ memory });
  const domain = new RadixDomain({ pageSizes: [4096n, 0x20_0000n, GIB] });
  await iopt.addDomain(domain);
  const iova = await iopt.map({ uptr, length: 0x20_0000n, prot: 'rw' });
  const top = await iopt.map({ iova: 2n ** 64n - 4096n, uptr: uptr + 0x20_0000n, length: 4096n, prot: 'r' });
  iopt.check();
  const translated =
    domain.iovaToPhys(iova + 0x1234n) === BigInt(memory.frameOf(uptr + 0x1000n)) * 4096n + 0x234n;
  deviceWrite(domain, memory, iova + 0x1ff8n, bytes);
  const seen = new Uint8Array(bytes.length);
  const access = new IoptAccess({ needsPin: false });
  await access.attach(iopt);
  await access.read(iova + 0x1ff8n, seen);
  await access.detach();
  deviceRead(domain, memory, top, new Uint8Array(4096));
  const refused: unknown = await iopt
    .map({ iova: top, uptr, length: 4096n, prot: 'rw' })
    .catch((error) => error);
  const explanation = await iopt.explain({ call: 'unmap', iova, length: 4096n });
  const picture = { svg: renderSvg(iopt.snapshot()), text: renderText(iopt.snapshot()) };
  const unmapped = await iopt.unmapAll();
  iopt.check();
  return {
    translated,
    text: new TextDecoder().decode(seen),
    errno: refused instanceof IommuError ? refused.errno : 0,
    alternatives: explanation.ok ? 0 : explanation.alternatives.length,
    unmapped: String(unmapped),
    pins: memory.physical.pinned,
    picture,
  };
}

/** An iommufd by its methods, and one by its ioctls. */
async function iommufd() {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: 0x10_0000n });
  const typed = new Iommufd({ memory });
  const ioas = await typed.ioasAlloc();
  await typed.ioasMap({ ioas, iova: 0n, uptr, length: 0x10_0000n, prot: 'rw' });
  typed.check();
  await typed.close();
  const device = new IommufdDevice({ memory });
  memory.write(uptr, Uint8Array.of(12));
  const answer = await device.ioctl(0x3b81, uptr);
  const id = memory.read(uptr + 8n, 1)[0];
  await device.close();
  return { ioas, answer, id };
}

/** A log, and the report on it. */
async function log() {
  const lines = [
    'vfio_dma_map(0x1, 0x1000, 0x1000, 0x7f0000000000) = 0',
    'vfio_dma_unmap(0x1, 0x1000, 0x1000) = -2',
  ];
  const recorder = new ReplayRecorder({ log: 'page', profile: 'linux-6.12' });
  const replayer = new Replayer();
  for await (const event of readLog(lines)) {
    const step = await replayer.apply(event);
    if (step === undefined) continue;
    recorder.step(step, {
      pinnedPages: replayer.pinnedPages,
      settingChanged: replayer.settingChanged(step.space),
    });
  }
  const figures = await replayer.finish();
  const html = [...renderHtml(recorder.recording(figures))].join('');
  return { requests: figures.requests, divergences: figures.divergences, html };
}

async function everything() {
  return { table: await table(), iommufd: await iommufd(), log: await log() };
}

/** What the test looks at. */
export type Outcome = Awaited<ReturnType<typeof everything>>;

Object.assign(globalThis, { outcome: everything() });

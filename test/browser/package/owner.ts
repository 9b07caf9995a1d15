// A page that maps, while a worker translates by the same tables; the page must be isolated from other origins.
import { deviceWrite, IoPagetable, ProcessMemory, RadixDomain } from 'io-pagetable';

const PAGE = 4096;
const text = new TextEncoder().encode('seen by a worker');

async function everything() {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: 16 * PAGE, buffer: new SharedArrayBuffer(16 * PAGE) });
  const domain = new RadixDomain({ shared: true });
  const iopt = new IoPagetable({ memory });
  await iopt.addDomain(domain);
  const iova = await iopt.map({ uptr, length: BigInt(4 * PAGE), prot: 'rw' });
  deviceWrite(domain, memory, iova + 4090n, text);
  const worker = new Worker('reader.js');
  const answer = new Promise<unknown>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
  worker.postMessage({
    tables: domain.share(),
    frames: memory.share(),
    iova: iova + 4090n,
    length: text.length,
  });
  const seen = await answer;
  worker.terminate();
  return { isolated: crossOriginIsolated, seen };
}

Object.assign(globalThis, { outcome: everything() });

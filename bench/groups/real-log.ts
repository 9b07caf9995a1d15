/**
 * A real workload: what a guest asked of its virtual IOMMU, in its order, from memory.
 */
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { readLog } from '../../src/replay/index.js';
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { LeanTable } from '../peers/lean-table.js';
import { NaiveTable } from '../peers/naive-table.js';
import { OURS } from '../results.js';
import { IoPagetable, ProcessMemory, type Protection, RadixDomain } from '../scene/core.js';

const LOG = 'bench/logs/virtio-iommu-disk.log.gz';
const GUEST_RAM = 2 ** 29;

/** A request of the log. */
interface Request {
  readonly type: 'map' | 'unmap' | 'translate';
  readonly iova: bigint;
  readonly length: bigint;
  /** User address of a map; guest physical address that a translation has to lead to. */
  readonly target: bigint;
  readonly prot: Protection;
  // The same as numbers, for the lean peer.
  readonly iovaNumber: number;
  readonly lengthNumber: number;
  readonly targetNumber: number;
}

/**
 * The log's maps, unmaps and answered translations; its one device stays in its one domain throughout. At the end
 * of the log the domain goes, with what is mapped in it.
 */
async function readRequests(uptr: bigint): Promise<Request[]> {
  const lines = gunzipSync(await readFile(LOG))
    .toString()
    .split('\n');
  const requests: Request[] = [];
  const push = (
    type: Request['type'],
    iova: bigint,
    length: bigint,
    target: bigint,
    prot: Protection = 'r',
  ) =>
    requests.push({
      type,
      iova,
      length,
      target,
      prot,
      iovaNumber: Number(iova),
      lengthNumber: Number(length),
      targetNumber: Number(target),
    });
  for await (const event of readLog(lines)) {
    if (event.type === 'viommu-map') {
      const { iova, last, physical, flags } = event;
      push('map', iova, last - iova + 1n, uptr + physical, flags === 1 ? 'r' : flags === 2 ? 'w' : 'rw');
    } else if (event.type === 'viommu-unmap') {
      push('unmap', event.iova, event.last - event.iova + 1n, 0n);
    } else if (event.type === 'viommu-translated') {
      push('translate', event.iova, 0n, event.physical);
    }
  }
  return requests;
}

function guest(): { memory: ProcessMemory; uptr: bigint } {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: GUEST_RAM, frames: 'scattered', sparse: true });
  return { memory, uptr };
}

/** Where translations went astray, if one did. */
type Verify = (request: Request, physical: bigint | number | undefined) => void;

function verifyAgainst(memory: ProcessMemory, uptr: bigint): Verify {
  return ({ iova, target }, physical) => {
    const expected = BigInt(memory.frameOf(uptr + target)) * 4096n + (target & 4095n);
    if (physical === undefined || BigInt(physical) !== expected) {
      throw new Error(
        `the log has 0x${iova.toString(16)} lead to 0x${target.toString(16)}, not to ${physical}`,
      );
    }
  };
}

async function ours(): Promise<Subject> {
  const { memory, uptr } = guest();
  const table = new IoPagetable({ memory });
  const domain = new RadixDomain();
  await table.addDomain(domain);
  const requests = await readRequests(uptr);
  const replay = async (verify?: Verify) => {
    for (const request of requests) {
      const { type, iova, length } = request;
      if (type === 'map') await table.map({ iova, uptr: request.target, length, prot: request.prot });
      else if (type === 'unmap') await table.unmap(iova, length);
      else {
        const physical = domain.iovaToPhys(iova);
        if (verify !== undefined) verify(request, physical);
      }
    }
    await table.unmapAll();
  };
  await replay(verifyAgainst(memory, uptr));
  return {
    row: 'realLog',
    subject: OURS,
    size: requests.length,
    batch: requests.length,
    run: () => replay(),
  };
}

async function oursNow(): Promise<Subject> {
  const { memory, uptr } = guest();
  const table = new IoPagetable({ memory });
  const domain = new RadixDomain();
  await table.addDomain(domain);
  const requests = await readRequests(uptr);
  const replay = () => {
    for (const request of requests) {
      const { type, iova, length } = request;
      if (type === 'map') table.mapSync({ iova, uptr: request.target, length, prot: request.prot });
      else if (type === 'unmap') table.unmapSync(iova, length);
      else domain.iovaToPhys(iova);
    }
    table.unmapAllSync();
  };
  const size = requests.length;
  return { row: 'realLog', subject: 'io-pagetable (sync)', size, batch: size, run: replay };
}

async function naive(): Promise<Subject> {
  const { memory, uptr } = guest();
  const table = new NaiveTable(memory, true);
  const requests = await readRequests(uptr);
  const replay = async (verify?: Verify) => {
    for (const request of requests) {
      const { type, iova, length, target, prot } = request;
      if (type === 'map') await table.map(iova, target, length, prot !== 'r');
      else if (type === 'unmap') await table.unmap(iova, length);
      else {
        const physical = table.iovaToPhys(iova);
        if (verify !== undefined) verify(request, physical);
      }
    }
    await table.unmap(0n, 2n ** 64n);
  };
  await replay(verifyAgainst(memory, uptr));
  const size = requests.length;
  return { row: 'realLog', subject: 'naive composition', size, batch: size, run: () => replay() };
}

async function lean(): Promise<Subject> {
  const { memory, uptr } = guest();
  const table = new LeanTable(memory, true);
  const requests = await readRequests(uptr);
  const replay = async (verify?: Verify) => {
    for (const request of requests) {
      const { type, iovaNumber, lengthNumber, targetNumber, prot } = request;
      if (type === 'map') await table.map(iovaNumber, targetNumber, lengthNumber, prot !== 'r');
      else if (type === 'unmap') await table.unmap(iovaNumber, lengthNumber);
      else {
        const physical = table.iovaToPhys(iovaNumber);
        if (verify !== undefined) verify(request, physical);
      }
    }
    await table.unmap(0, 2 ** 52);
  };
  await replay(verifyAgainst(memory, uptr));
  const size = requests.length;
  return { row: 'realLog', subject: 'lean composition', size, batch: size, run: () => replay() };
}

/** The rows of the group. */
export async function realLogGroup(run: GroupRun): Promise<void> {
  await run.measure([await ours(), await oursNow(), await naive(), await lean()]);
}

/**
 * A device model's accesses to memory through IOVA, against bare copies between typed arrays.
 */
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { OURS } from '../results.js';
import type { RowName } from '../rows.js';
import { IoPagetable, IoptAccess, ProcessMemory, RadixDomain } from '../scene/core.js';
import { randomNumbers, shuffled } from '../scene/random.js';
import { BASE, PAGE, scatteredMemory } from '../scene/space.js';

/** Areas of a page each, next to each other: 1 MiB of IOVA. */
const AREAS = 256;
const SIZES = [64, PAGE, AREAS * PAGE];
const PLACES = 4096;
const PIN_SIZES = [1, AREAS];

/** 256 one-page areas over scattered pages of a buffer, which the bare copies go from and to as well. */
async function smallAreas(): Promise<{ access: IoptAccess; bytes: Uint8Array }> {
  const bytes = new Uint8Array(AREAS * PAGE).fill(1);
  const memory = new ProcessMemory();
  const ram = memory.mmap({ length: bytes.length, buffer: bytes.buffer, frames: 'scattered' });
  const table = new IoPagetable({ memory });
  await table.addDomain(new RadixDomain());
  const order = shuffled(AREAS, randomNumbers());
  for (let at = 0; at < AREAS; at++) {
    const uptr = ram.uptr + BigInt(order[at]! * PAGE);
    await table.map({ iova: BASE + at * PAGE, uptr, length: PAGE, prot: 'rw' });
  }
  const access = new IoptAccess({ needsPin: false });
  await access.attach(table);
  return { access, bytes };
}

/** Where transfers of `size` bytes begin: anywhere for short ones, at a page for a whole one. */
function placesOf(size: number): number[] {
  const random = randomNumbers();
  const step = Math.min(size, PAGE);
  const places = (AREAS * PAGE - size) / step + 1;
  return Array.from({ length: PLACES }, () => Math.floor(random() * places) * step);
}

function transfers(row: RowName, buffer: Uint8Array, access: IoptAccess): Subject {
  const size = buffer.length;
  const places = placesOf(size).map((place) => BASE + place);
  let at = 0;
  const next = () => places[at++ % PLACES]!;
  const read = (count: number) => {
    for (let call = 0; call < count; call++) access.readSync(next(), buffer);
  };
  const write = (count: number) => {
    for (let call = 0; call < count; call++) access.writeSync(next(), buffer);
  };
  return { row, subject: OURS, size, run: row === 'dmaRead' ? read : write };
}

function bareCopies(row: RowName, buffer: Uint8Array, memory: Uint8Array): Subject {
  const size = buffer.length;
  const places = placesOf(size);
  let at = 0;
  const next = () => places[at++ % PLACES]!;
  const read = (count: number) => {
    for (let call = 0; call < count; call++) {
      const place = next();
      buffer.set(memory.subarray(place, place + size));
    }
  };
  const write = (count: number) => {
    for (let call = 0; call < count; call++) memory.set(buffer, next());
  };
  return { row, subject: 'typed-array copy', size, run: row === 'dmaRead' ? read : write };
}

async function pins(row: RowName, domain: boolean): Promise<Subject[]> {
  const { memory, ram } = scatteredMemory(AREAS);
  const table = new IoPagetable({ memory });
  if (domain) await table.addDomain(new RadixDomain());
  await table.map({ iova: BASE, uptr: ram.uptr, length: AREAS * PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  return PIN_SIZES.flatMap((size) => [
    {
      row,
      subject: OURS,
      size,
      async run(count: number) {
        for (let call = 0; call < count; call++) await (await table.access(BASE, size * PAGE)).release();
      },
    },
    {
      row,
      subject: 'io-pagetable (pinSync + unpinSync)',
      size,
      run(count: number) {
        for (let call = 0; call < count; call++) {
          access.pinSync(BASE, size * PAGE);
          access.unpinSync(BASE, size * PAGE);
        }
      },
    },
  ]);
}

/** The rows of the group. */
export async function dmaGroup(run: GroupRun): Promise<void> {
  const { access, bytes } = await smallAreas();
  // The same buffers for both: how long a copy takes depends on how its two ends lie to each other.
  const buffers = SIZES.map((size) => new Uint8Array(size).fill(1));
  const subjects: Subject[] = [];
  for (const row of ['dmaRead', 'dmaWrite'] as const) {
    for (const buffer of buffers)
      subjects.push(transfers(row, buffer, access), bareCopies(row, buffer, bytes));
  }
  await run.measure(subjects);
  await run.measure([...(await pins('pinRelease', false)), ...(await pins('pinReleaseInDomain', true))]);
}

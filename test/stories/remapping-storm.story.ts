/**
 * A guest whose virtual IOMMU works with two devices: its driver maps and unmaps a buffer for every request, a hundred
 * thousand times. The VMM has the guest's memory registered, copies from there into the address space of the devices,
 * and unmaps again.
 */
import { expect, test } from 'vitest';
import { deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { Iommufd, ProcessMemory, RadixDomain } from '../../src/index.js';

const PAGE = 4096;
const RAM_PAGES = 2048;
const RAM_LENGTH = RAM_PAGES * PAGE;
/** Where the guest's memory is in the address space that it is registered in: its guest-physical addresses. */
const REGISTERED = 0n;

/** The guest's driver: it has this many buffers mapped at a time, each in a place of its own. */
const BUFFERS = 64;
const PLACES = 0xe000_0000;
const PLACE = 0x8_0000;
const MOST_PAGES = 16;

const PAIRS = 100_000;
const PAIRS_PER_STEP = 2_500;

/** Numbers that look random, the same in each run. */
function* numbers(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state >>> 8;
  }
}

interface Buffer {
  readonly iova: number;
  /** Guest-physical address. */
  readonly at: number;
  readonly length: number;
}

test('a remapping storm leaves nothing behind', async () => {
  const memory = new ProcessMemory();
  const { uptr: ram } = memory.mmap({ length: RAM_LENGTH, frames: 'contiguous' });
  await using iommufd = new Iommufd({ memory });

  // The registration: the guest's memory is mapped and pinned once.
  const registration = await iommufd.ioasAlloc();
  await iommufd.ioasMap({ ioas: registration, iova: REGISTERED, uptr: ram, length: RAM_LENGTH, prot: 'rw' });
  const access = await iommufd.accessCreate({ ioas: registration, needsPin: true, onUnmap: () => undefined });
  await access.pin(REGISTERED, RAM_LENGTH, { write: true });

  // The address space of the virtual IOMMU, with two devices, each of which has its own kind of page table.
  const ioas = await iommufd.ioasAlloc();
  const domains = [
    new RadixDomain(),
    new RadixDomain({ pageSizes: [PAGE], aperture: { start: 0, last: 2 ** 32 - 1 } }),
  ];
  for (const [at, domain] of domains.entries()) {
    const device = await iommufd.deviceBind({ name: `device ${at}`, createDomain: () => domain });
    await device.attach(await iommufd.hwptAlloc({ device: device.id, ioas }));
  }
  const [first, second] = [domains[0]!, domains[1]!];

  /** What must be as it was when the storm is over. */
  const state = () => ({
    tables: [registration, ioas].map((id) => iommufd.ioasTable(id).snapshot()),
    pinned: memory.physical.pinned,
    domains: domains.map(({ mappedBytes, tables }) => ({ mappedBytes, tables })),
  });
  const before = state();
  expect(before).toMatchObject({ pinned: RAM_PAGES, domains: [{ mappedBytes: 0n }, { mappedBytes: 0n }] });
  iommufd.check();

  const random = numbers(4711);
  const next = (limit: number) => random.next().value % limit;
  const frameAddress = (at: number) => memory.frameOf(ram + BigInt(at)) * PAGE + (at % PAGE);
  const mapped = new Array<Buffer | undefined>(BUFFERS);

  const map = async (place: number): Promise<Buffer> => {
    const pages = 1 + next(MOST_PAGES);
    const length = pages * PAGE;
    const iova = PLACES + place * PLACE + next(PLACE / PAGE - pages) * PAGE;
    const at = next(RAM_PAGES - pages) * PAGE;
    await iommufd.ioasCopy({ from: registration, srcIova: at, to: ioas, iova, length, prot: 'rw' });
    const last = length - 1;
    for (const domain of domains) {
      expect(domain.iovaToPhys(iova)).toBe(frameAddress(at));
      expect(domain.iovaToPhys(iova + last)).toBe(frameAddress(at + last));
    }
    return { iova, at, length };
  };

  const unmap = async ({ iova, length }: Buffer): Promise<void> => {
    expect(await iommufd.ioasUnmap({ ioas, iova, length })).toBe(BigInt(length));
    for (const domain of domains) {
      expect(domain.iovaToPhys(iova)).toBeUndefined();
      expect(domain.iovaToPhys(iova + length - 1)).toBeUndefined();
    }
  };

  const tableBytes: number[] = [];
  let pairs = 0;
  while (pairs < PAIRS) {
    for (const stop = pairs + PAIRS_PER_STEP; pairs < stop; ) {
      const place = next(BUFFERS);
      const buffer = mapped[place];
      if (buffer === undefined) {
        mapped[place] = await map(place);
      } else {
        mapped[place] = undefined;
        await unmap(buffer);
        pairs += 1;
      }
    }
    // What one device writes, the other one reads, and it is in the guest's memory.
    for (const buffer of mapped) {
      if (buffer === undefined) continue;
      const [sent, received] = [Uint8Array.of(next(256), next(256)), new Uint8Array(2)];
      deviceWrite(first, memory, buffer.iova + buffer.length - 2, sent);
      deviceRead(second, memory, buffer.iova + buffer.length - 2, received);
      expect(received).toEqual(sent);
      expect(memory.read(ram + BigInt(buffer.at + buffer.length - 2), 2)).toEqual(sent);
    }
    // However much is mapped now, each page is pinned once still.
    expect(memory.physical.pinned).toBe(RAM_PAGES);
    iommufd.check();
    tableBytes.push(...domains.map((domain) => domain.tableBytes));
  }

  for (const buffer of mapped) if (buffer !== undefined) await unmap(buffer);
  iommufd.check();
  expect(state()).toEqual(before);
  expect(domains.map((domain) => domain.tables)).toEqual([1, 1]);
  // The memory that the page tables keep is what the first steps needed, whatever the heap looks like.
  expect(Math.max(...tableBytes.slice(2))).toBeLessThanOrEqual(2 * Math.max(...tableBytes.slice(0, 2)));

  await access.unpin(REGISTERED, RAM_LENGTH);
  expect(memory.physical.pinned).toBe(0);
  await access.destroy();
  iommufd.check();
  expect(await iommufd.ioasUnmap({ ioas: registration, iova: 0n, length: 2n ** 64n - 1n })).toBe(
    BigInt(RAM_LENGTH),
  );
  for (const id of [registration, ioas]) {
    expect(iommufd.ioasTable(id).snapshot()).toMatchObject({ areas: [], pages: [], accesses: 0 });
  }
});

// What a program that depends on the package may look like; it is compiled, and run, against the packed package.
import {
  type AreaSnapshot,
  deviceWrite,
  type IommuDomain,
  IommuError,
  Iommufd,
  IoPagetable,
  type MapOptions,
  ProcessMemory,
  RadixDomain,
  type UserMemory,
} from 'io-pagetable';
import { renderText } from 'io-pagetable/render';
import { type Divergence, replay } from 'io-pagetable/replay';
import { FaultCounter, MockDomain } from 'io-pagetable/testing';
import { encode, IommufdDevice } from 'io-pagetable/uapi';

const memory: UserMemory & ProcessMemory = new ProcessMemory();
const { uptr } = memory.mmap({ length: 0x4000n });
const options: MapOptions = { iova: 0x8000, uptr, length: 0x4000n, prot: 'rw' };
const iopt = new IoPagetable({ memory, faults: new FaultCounter() });
const domain: IommuDomain = new RadixDomain();
await iopt.addDomain(domain);
const iova: bigint = await iopt.map(options);
deviceWrite(domain, memory, iova, Uint8Array.of(1));
const areas: readonly AreaSnapshot[] = iopt.snapshot().areas;
const text: string = renderText(iopt.snapshot());

const refused: unknown = await iopt.map(options).catch((error: unknown) => error);
const code: 'EEXIST' | undefined =
  refused instanceof IommuError && refused.code === 'EEXIST' ? 'EEXIST' : undefined;
// @ts-expect-error -- a permission is one of four words
iopt.map({ ...options, prot: 'x' }).catch(() => undefined);

await using iommufd = new Iommufd({ memory });
await iommufd.ioasAlloc();
await using device = new IommufdDevice({ memory });
memory.write(uptr, encode('IOAS_ALLOC', {}));
const answer: number = await device.ioctl(0x3b81, uptr);

const divergences: Divergence[] = [];
await replay(['vfio_dma_map(0x1, 0x1000, 0x1000, 0x7f0000000000) = 0'], {
  createDomain: () => new MockDomain({ aperture: { start: 0, last: 0xffff } }),
  onDivergence: (divergence) => divergences.push(divergence),
});

if (areas.length !== 1 || text === '' || code !== 'EEXIST' || answer !== 0)
  throw new Error('it does not work');

/** The commands that later kernels have, check by check. */
import { describe, expect, test } from 'vitest';
import { NoIommuDevice } from '../../src/iommufd/no-iommu.js';
import { DmaBufExporter } from '../../src/memory/dma-buf-exporter.js';
import { MemoryFile } from '../../src/memory/memory-file.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { DeviceMapping } from '../../src/uapi/device-mapping.js';
import { FileTable } from '../../src/uapi/file-table.js';
import {
  APERTURE,
  EADDRINUSE,
  EBADF,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  EIO,
  EMFILE,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOTTY,
  ENXIO,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  ERANGE,
  layout,
  MAX,
  PAGE,
  Program,
  type Put,
  programMemory,
  RAM,
  ROOM,
  s32,
  struct,
  u32,
  u64,
} from './program.js';

const [MAP_FILE, VIOMMU_ALLOC, VDEVICE_ALLOC] = [0x3b8f, 0x3b90, 0x3b91];
const [CHANGE_PROCESS, VEVENTQ_ALLOC, HW_QUEUE_ALLOC, GET_PA] = [0x3b92, 0x3b93, 0x3b94, 0x3b95];
/** What the test driver calls its virtual IOMMUs and queues. */
const MOCK = 0xdead_beef;
/** Where data of drivers is. */
const DATA = ROOM + 0x8000n;
const profile = 'linux-7.3';

/** A program with descriptors. */
function withFiles(options: ConstructorParameters<typeof Program>[0] = {}) {
  const files = new FileTable(8);
  const program = new Program({
    profile,
    file: (fd) => files.get(fd),
    openFile: (file) => files.open(file),
    ...options,
  });
  return { program, files };
}

/** A memfd of 64 KiB on the machine of a program. */
function memfd({ memory }: Program, size = 0x1_0000): MemoryFile {
  return new MemoryFile({ physical: memory.physical, size });
}

function destroy(program: Program, id: number): Promise<number> {
  return program.refused(0x3b80, struct(8, u32(4, id)));
}

describe('the table', () => {
  test.each([
    ['linux-6.12', 0x8e],
    ['rfc-v1', 0x8e],
    ['linux-7.3', 0x95],
  ] as const)('of %s ends at 0x%x without the test driver, at 0xa0 with it', async (name, last) => {
    const alone = new Program({ profile: name, commands: undefined });
    expect(await alone.ioctl(0x3b00 | last, 0n)).toBe(EFAULT);
    expect(await alone.ioctl(0x3b00 | (last + 1), 0n)).toBe(ENOTTY);
    expect(alone.device.profile).toBe(name);
    await alone.end();
    const tested = new Program({ profile: name });
    for (let number = last + 1; number < 0xa0; number++) {
      expect(await tested.ioctl(0x3b00 | number, 0n)).toBe(EFAULT);
      expect(await tested.refused(0x3b00 | number, struct(40))).toBe(ENOTTY);
    }
    expect(await tested.ioctl(0x3ba1, 0n)).toBe(ENOTTY);
    await tested.end();
  });

  test('of earlier kernels has no test operations from 16 on', async () => {
    const program = new Program({ profile: 'linux-6.12' });
    for (let op = 16; op < 25; op++) expect((await program.test(op)).result).toBe(EOPNOTSUPP);
    await program.end();
  });
});

describe('IOAS_MAP_FILE', () => {
  interface Fields {
    readonly flags?: number;
    readonly ioas?: number;
    readonly fd?: number;
    readonly start?: bigint;
    readonly length?: bigint;
    readonly iova?: bigint;
  }
  const mapFile = ({ flags = 7, ioas = 1, fd = 0, start = 0n, length = PAGE, iova = 0x4000n }: Fields) =>
    struct(40, u32(4, flags), u32(8, ioas), s32(12, fd), u64(16, start), u64(24, length), u64(32, iova));

  test('maps a file, and says where', async () => {
    const { program, files } = withFiles();
    const fd = files.open({ kind: 'file', file: memfd(program) });
    await program.ioas();
    const fixed = await program.call(MAP_FILE, mapFile({ fd, start: 0x2000n, length: 0x3000n }));
    expect([fixed.result, fixed.u64(32)]).toEqual([0, 0x4000n]);
    files.close(fd);
    expect(await program.refused(MAP_FILE, mapFile({ fd, flags: 6, iova: 0n }))).toBe(EBADF);
    expect(await program.readOnly(MAP_FILE, mapFile({ fd, flags: 6, iova: 0n }))).toBe(EBADF);
    await program.end();
  });

  /** Each request is also wrong in all ways that come after it. */
  test('F1 to F8: what is refused before the file is looked at', async () => {
    const { program } = withFiles();
    await program.ioas();
    const wrong = { flags: 8, iova: MAX, length: MAX, ioas: 9, start: MAX, fd: 5 };
    const cases: readonly (readonly [Fields, number])[] = [
      [wrong, EOPNOTSUPP],
      [{ ...wrong, flags: 0 }, EOVERFLOW],
      [{ ...wrong, flags: 0, iova: 0n }, EOVERFLOW],
      [{ ...wrong, flags: 0, length: 2n }, EOVERFLOW],
      [{ ...wrong, flags: 1, iova: 0n, length: 0n }, EINVAL],
      [{ ...wrong, flags: 7, iova: 0n, length: 0n }, ENOENT],
      [{ ...wrong, flags: 7, iova: 0n, length: 0n, ioas: 1 }, EINVAL],
      [{ ...wrong, flags: 7, iova: 0n, length: 2n, ioas: 1 }, EOVERFLOW],
      [{ ...wrong, flags: 7, iova: 0n, length: MAX - 1n, ioas: 1, start: 0n }, EBADF],
      [{ flags: 7, fd: -1 }, EBADF],
    ];
    for (const [fields, errno] of cases) {
      expect([fields, await program.refused(MAP_FILE, mapFile(fields))]).toEqual([fields, errno]);
    }
    await program.end();
  });

  test('F9 and F10: then a length that leaves no room, and the checks of every map', async () => {
    const { program, files } = withFiles();
    const fd = files.open({ kind: 'file', file: memfd(program) });
    const ioas = await program.ioas();
    expect(await program.refused(MAP_FILE, mapFile({ fd, length: MAX - 1n, iova: 1n }))).toBe(EINVAL);
    expect((await program.call(MAP_FILE, mapFile({ fd }))).result).toBe(0);
    expect(await program.refused(MAP_FILE, mapFile({ fd }))).toBe(EEXIST);
    expect((await program.call(MAP_FILE, mapFile({ fd, iova: 0x8000n, start: 0x10_0000n }))).result).toBe(0);
    await program.mockDomainRefused(ioas, EADDRINUSE);
    await program.end();
  });

  test('with a domain it pins, or cannot', async () => {
    const { program, files } = withFiles();
    const fd = files.open({ kind: 'file', file: memfd(program) });
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    const at = { fd, iova: APERTURE };
    expect(await program.refused(MAP_FILE, mapFile({ ...at, start: 0x1_0000n }))).toBe(EINVAL);
    expect((await program.call(MAP_FILE, mapFile({ ...at, length: 0x1_0000n }))).result).toBe(0);
    expect(program.memory.physical.pinned).toBe(16);
    await program.end();
  });

  test('what could not be written back stays mapped', async () => {
    const { program, files } = withFiles();
    const fd = files.open({ kind: 'file', file: memfd(program) });
    await program.ioas();
    expect(await program.readOnly(MAP_FILE, mapFile({ fd }))).toBe(EFAULT);
    expect(await program.refused(MAP_FILE, mapFile({ fd }))).toBe(EEXIST);
    await program.end();
  });

  test('B1 to B4: dma-bufs', async () => {
    const { program, files } = withFiles();
    const dmaBuf = new DmaBufExporter({ physical: program.memory.physical, size: 0x4000n });
    const fd = files.open({ kind: 'dma-buf', file: dmaBuf });
    await program.ioas();
    expect((await program.call(MAP_FILE, mapFile({ fd, length: 0x4000n }))).result).toBe(0);
    await dmaBuf.revoke();
    expect(await program.refused(MAP_FILE, mapFile({ fd, length: 0x4001n }))).toBe(EINVAL);
    expect(await program.refused(MAP_FILE, mapFile({ fd, length: MAX - 1n }))).toBe(EINVAL);
    expect(await program.refused(MAP_FILE, mapFile({ fd }))).toBe(ENODEV);
    dmaBuf.restore();
    expect(await program.refused(MAP_FILE, mapFile({ fd }))).toBe(EEXIST);
    await program.end();
  });

  test('a child has descriptors of its own, and none of the device', async () => {
    const { program, files } = withFiles();
    const fd = files.open({ kind: 'file', file: memfd(program) });
    await program.ioas();
    const parent = program.memory;
    const child = parent.fork();
    program.caller = { memory: child };
    child.write(ROOM, mapFile({ fd }));
    expect(await program.ioctl(MAP_FILE, ROOM)).toBe(EBADF);
    const own = files.fork();
    files.close(fd);
    program.caller = { memory: child, file: (number) => own.get(number) };
    expect(await program.ioctl(MAP_FILE, ROOM)).toBe(0);
    child.exit();
    program.caller = {};
    await program.end();
  });
});

describe('IOAS_CHANGE_PROCESS', () => {
  test('checks', async () => {
    const { program, files } = withFiles();
    const fd = files.open({ kind: 'file', file: memfd(program) });
    const ioas = await program.ioas();
    expect(await program.refused(CHANGE_PROCESS, struct(8, u32(4, 1)))).toBe(EOPNOTSUPP);
    expect(await program.readOnly(CHANGE_PROCESS, struct(8))).toBe(0);
    const mapFile = struct(40, u32(4, 7), u32(8, ioas), s32(12, fd), u64(24, PAGE));
    expect((await program.call(MAP_FILE, mapFile)).result).toBe(0);
    expect(await program.refused(CHANGE_PROCESS, struct(8))).toBe(0);
    expect(await program.map(ioas, 0x8000n, RAM, PAGE)).toBe(0);
    expect(await program.refused(CHANGE_PROCESS, struct(8))).toBe(EINVAL);
    await program.end();
  });

  test('moves charges to the caller, who needs room for them', async () => {
    const { program, files } = withFiles({ memory: programMemory(16), accounting: 'mm' });
    const fd = files.open({ kind: 'file', file: memfd(program) });
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    const mapFile = struct(
      40,
      ...[u32(4, 7), u32(8, ioas), s32(12, fd), u64(24, 8n * PAGE), u64(32, APERTURE)],
    );
    expect((await program.call(MAP_FILE, mapFile)).result).toBe(0);
    const poor = new ProcessMemory({ lockedLimit: 7n * PAGE });
    const rich = new ProcessMemory({ lockedLimit: 8n * PAGE });
    for (const memory of [poor, rich]) {
      memory.mmap({ uptr: ROOM, length: PAGE });
      memory.write(ROOM, struct(8));
    }
    expect(await program.device.ioctl(CHANGE_PROCESS, ROOM, undefined, { memory: poor })).toBe(ENOMEM);
    expect(program.memory.locked?.mm.lockedPages).toBe(8);
    expect(await program.device.ioctl(CHANGE_PROCESS, ROOM, undefined, { memory: rich })).toBe(0);
    expect([program.memory.locked?.mm.lockedPages, rich.locked?.mm.lockedPages]).toEqual([0, 8]);
    await program.end();
    expect(rich.locked?.mm.lockedPages).toBe(0);
  });
});

/** A program with a nesting parent, and what is needed for virtual IOMMUs. */
async function withParent(options: ConstructorParameters<typeof Program>[0] = {}) {
  const program = new Program({ profile, ...options });
  const ioas = await program.ioas();
  const { stdev, idev, hwpt } = await program.mockDomain(ioas);
  const parent = await program.hwpt(idev, ioas, 1);
  const viommu = (fields: Put[] = [], size = 40) =>
    struct(size, u32(8, MOCK), u32(12, idev), u32(16, parent), ...fields);
  return { program, ioas, stdev, idev, hwpt, parent, viommu };
}

describe('VIOMMU_ALLOC', () => {
  test('checks', async () => {
    const { program, ioas, idev, hwpt, parent, viommu } = await withParent();
    const refused = (...fields: Put[]) => program.refused(VIOMMU_ALLOC, viommu(fields));
    expect(await refused(u32(4, 1), u32(12, 99))).toBe(EOPNOTSUPP);
    expect(await refused(u32(8, 0), u32(12, 99))).toBe(EOPNOTSUPP);
    expect(await refused(u32(8, 1), u32(12, 99), u32(16, 99))).toBe(ENOENT);
    expect(await refused(u32(8, 1), u32(16, 99))).toBe(EOPNOTSUPP);
    for (const id of [0, 99, ioas, idev]) expect(await refused(u32(16, id))).toBe(ENOENT);
    expect(await refused(u32(16, hwpt))).toBe(EINVAL);
    expect(await refused(u32(16, await program.hwpt(idev, ioas)))).toBe(EINVAL);
    expect(await program.readOnly(VIOMMU_ALLOC, viommu())).toBe(EFAULT);
    expect(await destroy(program, parent)).toBe(0);
    await program.end();
  });

  test('keeps its page table, and no other', async () => {
    const { program, parent, idev, hwpt, viommu } = await withParent();
    const made = await program.call(VIOMMU_ALLOC, viommu([u32(28, 77)]));
    const short = await program.call(VIOMMU_ALLOC, viommu([], 24));
    expect([made.result, made.u32(20), short.u32(20)]).toEqual([0, parent + 1, parent + 2]);
    expect(await destroy(program, parent)).toBe(EBUSY);
    expect(await destroy(program, parent + 1)).toBe(0);
    expect(await destroy(program, parent)).toBe(EBUSY);
    program.device.check();
    expect(await destroy(program, parent + 2)).toBe(0);
    expect(await destroy(program, parent)).toBe(0);
    expect([await destroy(program, idev), await destroy(program, hwpt)]).toEqual([EBUSY, EBUSY]);
    await program.end();
  });

  const data = (length: number, at = DATA) => [u32(24, length), u64(32, at)];

  test('data: its length, and where it is', async () => {
    const { program, parent, viommu } = await withParent();
    for (const length of [1, 7, 25]) {
      expect(await program.refused(VIOMMU_ALLOC, viommu(data(length)))).toBe(EINVAL);
    }
    expect(await program.refused(VIOMMU_ALLOC, viommu(data(24, 0n)))).toBe(EFAULT);
    const readOnly = RAM + 0x20_0000n;
    expect(await program.refused(VIOMMU_ALLOC, viommu(data(24, readOnly)))).toBe(EFAULT);
    program.memory.write(DATA, layout(24, u32(0, 0xbeef)));
    const whole = await program.call(VIOMMU_ALLOC, viommu(data(24)));
    expect([whole.result, whole.u32(20)]).toEqual([0, parent + 1]);
    expect(program.memory.read(DATA, 24)).toEqual(
      layout(24, u32(0, 0xbeef), u32(4, 0xbeef), u64(8, 0x1000n), u64(16, 0x2000n)),
    );
    program.memory.write(DATA, layout(24, u32(0, 7), u64(8, 99n)));
    expect((await program.call(VIOMMU_ALLOC, viommu(data(8)))).result).toBe(0);
    expect(program.memory.read(DATA, 24)).toEqual(layout(24, u32(0, 7), u32(4, 7), u64(8, 99n)));
    await program.end();
  });

  test('the window can be mapped, which keeps the virtual IOMMU and the device', async () => {
    const { program, parent, viommu } = await withParent();
    program.memory.write(DATA, layout(24, u32(0, 0xbeef)));
    for (let made = 0; made < 3; made++) {
      expect((await program.call(VIOMMU_ALLOC, viommu(data(24)))).result).toBe(0);
    }
    const offset = () => new DataView(program.memory.read(DATA, 24).buffer).getBigUint64(8, true);
    expect(offset()).toBe(0x5000n);
    expect(await destroy(program, parent + 2)).toBe(0);
    expect((await program.call(VIOMMU_ALLOC, viommu(data(24)))).result).toBe(0);
    expect(offset()).toBe(0x3000n);
    const { device } = program;
    const window = { offset: 0x1000n, length: 0x2000n, shared: true };
    expect(device.mmap({ ...window, shared: false, executable: true, offset: 0n })).toBe(EINVAL);
    expect(device.mmap({ ...window, executable: true, offset: 0n })).toBe(EPERM);
    for (const wrong of [{ offset: 0n }, { offset: 0x2000n }, { length: 0x1000n }, { length: 0x4000n }]) {
      expect(device.mmap({ ...window, ...wrong })).toBe(ENXIO);
    }
    const mapping = device.mmap({ ...window, length: 0x1001n });
    if (!(mapping instanceof DeviceMapping)) throw new Error(`mmap gave ${mapping}`);
    expect(mapping.bytes.subarray(0, 5)).toEqual(layout(5, u32(0, 0xbeef)));
    expect(await destroy(program, parent + 1)).toBe(EBUSY);
    expect(await destroy(program, parent + 2)).toBe(0);
    await device.close();
    expect(device.mmap(window)).toBe(EBADF);
    expect(() => device.iommufd.hwptDomain(parent)).not.toThrow();
    await mapping.unmap();
    await mapping.unmap();
    expect(() => device.iommufd.hwptDomain(parent)).toThrow(/does not exist/);
  });

  test('earlier devices have no mmap', async () => {
    const program = new Program({ profile: 'linux-6.12' });
    expect(program.device.mmap({ offset: 0n, length: PAGE, shared: false })).toBe(ENODEV);
    await program.end();
  });
});

test('VDEVICE_ALLOC: virtual devices are not modelled', async () => {
  const { program, parent, idev, viommu } = await withParent();
  expect((await program.call(VIOMMU_ALLOC, viommu())).result).toBe(0);
  const refused = (id: number, device: number) =>
    program.refused(VDEVICE_ALLOC, struct(24, u32(4, id), u32(8, device), u64(16, 0x99n)));
  expect(await refused(parent, 99)).toBe(ENOENT);
  expect(await refused(parent + 1, 99)).toBe(ENOENT);
  expect(await refused(parent + 1, idev)).toBe(EOPNOTSUPP);
  await program.end();
});

test('VEVENTQ_ALLOC: event queues are not modelled', async () => {
  const { program, parent, viommu } = await withParent();
  expect((await program.call(VIOMMU_ALLOC, viommu())).result).toBe(0);
  const refused = (...fields: Put[]) =>
    program.refused(VEVENTQ_ALLOC, struct(32, u32(8, parent + 1), u32(12, 1), u32(16, 1), ...fields));
  for (const field of [u32(4, 1), u32(28, 1), u32(12, 0)]) {
    expect(await refused(field, u32(16, 0))).toBe(EOPNOTSUPP);
  }
  for (const depth of [0, 2 ** 19 + 1]) expect(await refused(u32(16, depth), u32(8, 99))).toBe(EINVAL);
  expect(await refused(u32(16, 2 ** 19), u32(8, parent))).toBe(ENOENT);
  expect(await refused()).toBe(EOPNOTSUPP);
  await program.end();
});

describe('HW_QUEUE_ALLOC', () => {
  async function withViommu() {
    const scene = await withParent();
    const { program, ioas } = scene;
    const made = await program.call(VIOMMU_ALLOC, scene.viommu());
    expect(made.result).toBe(0);
    const viommu = made.u32(20);
    const queue = (iova: bigint, length: bigint, ...fields: Put[]) =>
      struct(40, u32(8, viommu), u32(12, MOCK), u64(24, iova), u64(32, length), ...fields);
    const unmap = (iova: bigint, length: bigint) =>
      program.refused(0x3b86, struct(24, u32(4, ioas), u64(8, iova), u64(16, length)));
    return { ...scene, viommu, queue, unmap };
  }
  const AREA = APERTURE + 0x4000n;

  test('what is refused before anything is pinned', async () => {
    const { program, viommu, idev, queue } = await withViommu();
    const refused = (iova: bigint, length: bigint, ...fields: Put[]) =>
      program.refused(HW_QUEUE_ALLOC, queue(iova, length, ...fields));
    expect(await refused(0n, 0n, u32(4, 1))).toBe(EOPNOTSUPP);
    expect(await refused(0n, 0n, u32(12, 0))).toBe(EOPNOTSUPP);
    expect(await refused(MAX, 0n, u32(8, 99))).toBe(EINVAL);
    expect(await refused(MAX, 2n, u32(8, 99))).toBe(EOVERFLOW);
    expect(await refused(MAX, 1n, u32(8, 99), u32(12, 5))).toBe(ENOENT);
    expect(await refused(MAX, 1n, u32(8, idev))).toBe(ENOENT);
    expect(await refused(0n, MAX, u32(12, 5))).toBe(EOPNOTSUPP);
    expect(await refused(0n, MAX)).toBe(ERANGE);
    expect(await refused(1n, MAX)).toBe(ERANGE);
    expect(await refused(0n, MAX - 0xfffn)).toBe(ENOMEM);
    expect(await refused(0n, 2n ** 40n)).toBe(ENOMEM);
    // Nothing is mapped; which index it is for is asked last.
    expect(await refused(APERTURE, PAGE, u32(16, 7))).toBe(ENOENT);
    expect(await destroy(program, viommu)).toBe(0);
    await program.end();
  });

  test('the alignment, the permission and the pages', async () => {
    const { program, ioas, queue } = await withViommu();
    const unmapAll = struct(24, u32(4, ioas), u64(8, 0n), u64(16, MAX));
    const refused = (iova: bigint, length: bigint) => program.refused(HW_QUEUE_ALLOC, queue(iova, length));
    expect(await program.map(ioas, APERTURE + 0x800n, RAM + 0x800n, 0x800n)).toBe(0);
    expect(await refused(AREA, PAGE)).toBe(EADDRINUSE);
    expect((await program.call(0x3b86, unmapAll)).result).toBe(0);
    expect(await program.map(ioas, AREA, RAM, PAGE, 3)).toBe(0);
    expect(await refused(AREA, PAGE)).toBe(EPERM);
    expect(await program.map(ioas, AREA + PAGE, RAM + PAGE, PAGE)).toBe(0);
    expect(await program.map(ioas, AREA + 2n * PAGE, RAM, PAGE)).toBe(0);
    expect(await refused(AREA + PAGE, 2n * PAGE)).toBe(EFAULT);
    expect(await refused(AREA + PAGE + 0x800n, PAGE)).toBe(EFAULT);
    // Neither the pins nor the alignment stay.
    expect(await program.map(ioas, AREA + 0x1_0800n, RAM + 0x800n, 0x800n)).toBe(0);
    await program.end();
  });

  test('locks the areas that it touches, and takes two ids', async () => {
    const { program, ioas, viommu, parent, queue, unmap } = await withViommu();
    expect(await program.map(ioas, AREA, RAM, PAGE)).toBe(0);
    expect(await program.map(ioas, AREA + PAGE, RAM, PAGE)).toBe(0);
    const add = (...fields: Put[]) => program.call(HW_QUEUE_ALLOC, queue(AREA + 0x800n, 0x800n, ...fields));
    expect((await add(u32(16, 2))).result).toBe(EINVAL);
    expect((await add(u32(16, 1))).result).toBe(EIO);
    expect(await program.readOnly(HW_QUEUE_ALLOC, queue(AREA, 8n))).toBe(EFAULT);
    const first = await add();
    expect([first.result, first.u32(20)]).toEqual([0, viommu + 1]);
    expect((await add()).result).toBe(EEXIST);
    expect(await program.ioas()).toBe(viommu + 3);
    const second = await add(u32(16, 1));
    expect([second.result, second.u32(20)]).toEqual([0, viommu + 4]);
    program.device.check();
    for (const [iova, length] of [
      [AREA, PAGE],
      [AREA + 0x800n, 0x800n],
      [0n, MAX],
    ] as const) {
      expect(await unmap(iova, length)).toBe(EBUSY);
    }
    for (const id of [viommu + 2, viommu + 5, viommu + 1, viommu, parent, ioas]) {
      expect(await destroy(program, id)).toBe(EBUSY);
    }
    // The alignment of an access that pins.
    expect(await program.map(ioas, AREA + 0x1_0800n, RAM + 0x800n, 0x800n)).toBe(EINVAL);
    expect(await destroy(program, viommu + 4)).toBe(0);
    expect(await destroy(program, viommu + 5)).toBe(ENOENT);
    expect(await unmap(AREA, PAGE)).toBe(EBUSY);
    expect(await destroy(program, viommu + 1)).toBe(0);
    program.device.check();
    expect((await program.call(0x3b86, struct(24, u32(4, ioas), u64(8, AREA), u64(16, PAGE)))).result).toBe(
      0,
    );
    expect(await destroy(program, viommu)).toBe(0);
    expect(await destroy(program, parent)).toBe(0);
    await program.end();
  });

  test('the slots of the test driver, and its slip', async () => {
    const { program, ioas, viommu, queue } = await withViommu();
    expect(await program.map(ioas, AREA, RAM, PAGE)).toBe(0);
    const add = async (index: number) => {
      const answer = await program.call(HW_QUEUE_ALLOC, queue(AREA, PAGE, u32(16, index)));
      return answer.result === 0 ? answer.u32(20) : answer.result;
    };
    const [zero, one] = [await add(0), await add(1)];
    expect(await destroy(program, one)).toBe(0);
    // Slot 0 was emptied, not slot 1.
    expect(await add(1)).toBe(EEXIST);
    const again = await add(0);
    expect(again).toBe(one);
    expect(await destroy(program, zero)).toBe(0);
    expect(await destroy(program, again)).toBe(0);
    expect(await add(1)).toBe(EEXIST);
    expect(await destroy(program, viommu)).toBe(0);
    await program.end();
  });

  test('goes with the device', async () => {
    const { program, ioas, queue } = await withViommu();
    expect(await program.map(ioas, AREA, RAM, PAGE)).toBe(0);
    for (const index of [0, 1]) {
      expect((await program.call(HW_QUEUE_ALLOC, queue(AREA, PAGE, u32(16, index)))).result).toBe(0);
    }
    await program.end();
  });
});

describe('devices without IOMMU', () => {
  const request = (ioas: number, iova: bigint, length: bigint, ...fields: Put[]) =>
    struct(40, u32(8, ioas), u64(16, iova), u64(24, length), ...fields);

  test('a kernel without them has neither them nor GET_PA', async () => {
    const program = new Program({ profile });
    const ioas = await program.ioas();
    expect(await program.refused(GET_PA, request(ioas, MAX, 0n, u32(4, 1)))).toBe(EOPNOTSUPP);
    await expect(program.device.iommufd.deviceBind(new NoIommuDevice())).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
    });
    expect(await program.ioctl(0x3b65, 8n)).toBe(0);
    await program.end();
  });

  async function withNoIommu(lockedPages?: number) {
    const program = new Program({ profile, noIommu: true, memory: programMemory(lockedPages) });
    const ioas = await program.ioas();
    const { iommufd } = program.device;
    const bind = () => iommufd.deviceBind(new NoIommuDevice(), { capable: () => true });
    return { program, ioas, iommufd, bind };
  }

  test('checks of GET_PA', async () => {
    const { program, ioas, bind, iommufd } = await withNoIommu(100);
    const refused = (iova: bigint, length: bigint, ...fields: Put[]) =>
      program.refused(GET_PA, request(ioas, iova, length, ...fields));
    expect(await refused(MAX, 0n, u32(4, 1))).toBe(EPERM);
    await expect(iommufd.deviceBind(new NoIommuDevice())).rejects.toMatchObject({ code: 'EPERM' });
    program.caller = { capable: (capability) => capability === 'CAP_SYS_RAWIO' };
    expect(await refused(MAX, 0n, u32(4, 1))).toBe(EOPNOTSUPP);
    expect(await refused(MAX, 0n, u32(12, 1))).toBe(EOPNOTSUPP);
    expect(await refused(MAX, 0n, u32(8, 99))).toBe(EINVAL);
    expect(await refused(MAX, 1n, u32(8, 99))).toBe(EOVERFLOW);
    expect(await refused(0n, 1n, u32(8, 99))).toBe(ENOENT);
    expect(await refused(0n, 1n)).toBe(ENOENT);
    expect(await program.map(ioas, APERTURE, RAM, 2n * PAGE)).toBe(0);
    expect(await refused(APERTURE, 1n)).toBe(EOPNOTSUPP);
    const { stdev } = await program.mockDomain(ioas);
    const device = await bind();
    // The automatic page table of a test device does, too: it is shared.
    expect(await device.attach(ioas)).toBe(stdev + 2);
    expect(await refused(APERTURE, 1n)).toBe(EOPNOTSUPP);
    await program.end();
  });

  test('GET_PA tells where memory is, and how much of it is consecutive', async () => {
    const { program, ioas, bind } = await withNoIommu();
    expect(await program.ioctl(0x3b65, 8n)).toBe(1);
    expect(await program.map(ioas, 0n, RAM, 2n * PAGE)).toBe(0);
    expect(await program.map(ioas, 2n * PAGE, RAM + 2n * PAGE, PAGE)).toBe(0);
    const [device, other] = [await bind(), await bind()];
    expect(await device.attach(ioas)).toBe(await other.attach(ioas));
    const ask = async (iova: bigint, length: bigint) => {
      const answer = await program.call(GET_PA, request(ioas, iova, length));
      return [answer.result, answer.u64(24), answer.u64(32)];
    };
    const physical = (uptr: bigint) => BigInt(program.memory.frameOf(uptr)) * PAGE;
    const consecutive = physical(RAM + PAGE) === physical(RAM) + PAGE;
    expect(await ask(0x10n, 0x20n)).toEqual([0, 0x20n, physical(RAM) + 0x10n]);
    expect(await ask(0x10n, MAX)).toEqual([0, (consecutive ? 2n : 1n) * PAGE - 0x10n, physical(RAM) + 0x10n]);
    // An area ends it.
    expect(await ask(PAGE, 2n * PAGE)).toEqual([0, PAGE, physical(RAM + PAGE)]);
    expect(await program.readOnly(GET_PA, request(ioas, 0n, 1n))).toBe(EFAULT);
    await device.detach();
    await device.detach();
    expect((await ask(0n, 1n))[0]).toBe(0);
    await other.detach();
    expect((await ask(0n, 1n))[0]).toBe(EOPNOTSUPP);
    await program.end();
  });

  test('what has been taken back is nowhere', async () => {
    const { program, ioas, bind } = await withNoIommu();
    const dmaBuf = new DmaBufExporter({ physical: program.memory.physical, size: 0x3000n });
    program.caller = { file: () => ({ kind: 'dma-buf', file: dmaBuf }) };
    const map = struct(40, u32(4, 7), u32(8, ioas), u64(16, PAGE), u64(24, 2n * PAGE), u64(32, APERTURE));
    expect((await program.call(MAP_FILE, map)).result).toBe(0);
    const device = await bind();
    await device.attach(ioas);
    const answer = await program.call(GET_PA, request(ioas, APERTURE, MAX));
    expect([answer.u64(24), answer.u64(32)]).toEqual([2n * PAGE, (BigInt(dmaBuf.pfn) + 1n) * PAGE]);
    await dmaBuf.revoke();
    expect(await program.refused(GET_PA, request(ioas, APERTURE, 1n))).toBe(EINVAL);
    await device.detach();
    expect(await program.refused(GET_PA, request(ioas, APERTURE, 1n))).toBe(EINVAL);
    await program.end();
  });
});

describe('test operations', () => {
  test('DEV_CHECK_CACHE', async () => {
    const program = new Program({ profile });
    const ioas = await program.ioas();
    const { stdev, idev } = await program.mockDomain(ioas);
    const check = async (id: number, cache: number, value: number) =>
      (await program.test(16, u32(8, id), u32(16, cache), u32(20, value))).result;
    for (let cache = 0; cache < 4; cache++) expect(await check(idev, cache, 0xba_ddad)).toBe(0);
    expect(await check(stdev, 4, 0)).toBe(ENOENT);
    expect(await check(idev, 4, 0xba_ddad)).toBe(EINVAL);
    expect(await check(idev, 0, 0)).toBe(EINVAL);
    await program.end();
  });

  test('TRIGGER_VEVENT finds no virtual device', async () => {
    const program = new Program({ profile });
    const { idev } = await program.mockDomain(await program.ioas());
    expect((await program.test(17, u32(16, 99))).result).toBe(ENOENT);
    expect((await program.test(17, u32(16, idev))).result).toBe(ENOENT);
    await program.end();
  });

  test('PASIDs are not modelled, and none is attached', async () => {
    const program = new Program({ profile });
    const ioas = await program.ioas();
    const { stdev, idev, hwpt } = await program.mockDomain(ioas, 4);
    const call = async (op: number, id: number, pasid: number, pt = 0) =>
      (await program.test(op, u32(8, id), u32(16, pasid), u32(20, pt))).result;
    const table = await program.hwpt(idev, ioas, 8);
    for (const op of [18, 19]) {
      expect(await call(op, idev, 100, 99)).toBe(ENOENT);
      expect(await call(op, stdev, 100, 99)).toBe(ENOENT);
      expect(await call(op, stdev, 100, idev)).toBe(EINVAL);
      expect(await call(op, stdev, 100, ioas)).toBe(EINVAL);
    }
    expect(await call(18, stdev, 100, table)).toBe(EOPNOTSUPP);
    expect(await call(18, stdev, 0, table)).toBe(EBUSY);
    expect(await call(19, stdev, 100, table)).toBe(EINVAL);
    expect([await call(20, idev, 100), await call(20, stdev, 100)]).toEqual([ENOENT, 0]);
    expect(await call(21, idev, 100, 0)).toBe(ENOENT);
    expect(await call(21, stdev, 100, 0)).toBe(0);
    expect(await call(21, stdev, 100, 99)).toBe(ENOENT);
    expect(await call(21, stdev, 100, ioas)).toBe(EINVAL);
    expect(await call(21, stdev, 100, table)).toBe(EINVAL);
    expect([await call(21, stdev, 0, hwpt), await call(21, stdev, 0, 0)]).toEqual([0, EINVAL]);
    await program.end();
  });

  test('DMABUF_GET takes the lowest free descriptor, and does not say which', async () => {
    const { program, files } = withFiles();
    files.open({ kind: 'file', file: memfd(program) });
    const get = async (length: number) => (await program.test(22, u32(16, length), u32(20, 2))).result;
    for (const length of [0, 0x20_0001, 0xffff_ffff]) expect(await get(length)).toBe(EINVAL);
    expect(await get(1)).toBe(0);
    expect(await get(0x20_0000)).toBe(0);
    expect([1, 2].map((fd) => files.get(fd))).toMatchObject([
      { kind: 'dma-buf', file: { size: 0x1000n } },
      { kind: 'dma-buf', file: { size: 0x20_0000n } },
    ]);
    for (let fd = 3; fd < 8; fd++) expect(await get(1)).toBe(0);
    expect(await get(1)).toBe(EMFILE);
    await program.end();
    const bare = new Program({ profile });
    expect((await bare.test(22, u32(16, 1))).result).toBe(EMFILE);
    await bare.end();
  });

  test('DMABUF_REVOKE takes back what is mapped, whichever way it goes', async () => {
    const { program, files } = withFiles();
    const ioas = await program.ioas();
    const { hwpt } = await program.mockDomain(ioas);
    const revoke = async (fd: number, revoked: number) =>
      (await program.test(23, s32(16, fd), u32(20, revoked))).result;
    const fd = files.open({ kind: 'file', file: memfd(program) });
    const foreign = files.open({ kind: 'dma-buf', file: new DmaBufExporter({ size: 0x1000n }) });
    expect([await revoke(-1, 1), await revoke(7, 1)]).toEqual([EBADF, EBADF]);
    expect([await revoke(fd, 1), await revoke(foreign, 1)]).toEqual([EINVAL, EOPNOTSUPP]);
    expect((await program.test(22, u32(16, 0x2000))).result).toBe(0);
    const map = (iova: bigint) =>
      program.call(
        MAP_FILE,
        struct(40, u32(4, 7), u32(8, ioas), s32(12, 2), u64(24, 0x2000n), u64(32, iova)),
      );
    const domain = program.device.iommufd.hwptDomain(hwpt);
    expect((await map(APERTURE)).result).toBe(0);
    expect(domain.iovaToPhys(APERTURE)).toBeDefined();
    expect(await revoke(2, 0)).toBe(0);
    expect(domain.iovaToPhys(APERTURE)).toBeUndefined();
    expect((await map(APERTURE + 0x2000n)).result).toBe(0);
    expect(await revoke(2, 1)).toBe(0);
    expect(domain.iovaToPhys(APERTURE + 0x2000n)).toBeUndefined();
    expect((await map(APERTURE)).result).toBe(ENODEV);
    await program.end();
  });
});

describe('FileTable', () => {
  test('gives the lowest free descriptor', () => {
    const files = new FileTable(3);
    const file = { kind: 'dma-buf', file: new DmaBufExporter({ size: 0x1000n }) } as const;
    expect([files.open(file), files.open(file), files.open(file)]).toEqual([0, 1, 2]);
    expect(() => files.open(file)).toThrow(expect.objectContaining({ code: 'EMFILE' }));
    files.close(1);
    expect(() => files.close(1)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(files.get(1)).toBeUndefined();
    const child = files.fork();
    expect([files.open(file), child.get(1), child.get(2)]).toEqual([1, undefined, file]);
  });
});

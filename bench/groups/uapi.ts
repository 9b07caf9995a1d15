/**
 * Calls through `uapi`, beside the same calls as typed methods: what the structs cost.
 */
import { TestDriver, testCommands } from '../../src/testing/index.js';
import {
  COMMANDS,
  type CommandInput,
  type CommandName,
  encode,
  IommufdDevice,
} from '../../src/uapi/index.js';
import type { GroupRun } from '../harness/group.js';
import { OURS } from '../results.js';
import { Iommufd, ProcessMemory } from '../scene/core.js';
import { PAGE } from '../scene/space.js';

const STRUCT = 0x10_000n;
const BUFFER = 0x11_000n;
const MAPPED = 0x12_000n;
const IOVA = 0x10_0000n;
const ELSEWHERE = 0x20_0000n;
const BYTES = 8;
const UAPI = 'io-pagetable (ioctl)';

/** A call of a command whose struct is there already, as a program would repeat it. */
function prepared<N extends CommandName>(
  memory: ProcessMemory,
  device: IommufdDevice,
  name: N,
  fields: CommandInput<N>,
) {
  const address = memory.mmap({ length: PAGE }).uptr;
  memory.write(address, encode(name, fields));
  return () => device.ioctl(COMMANDS[name].request, address);
}

async function repeat(count: number, call: () => Promise<unknown>): Promise<void> {
  for (let at = 0; at < count; at++) await call();
}

/** The rows of the group. */
export async function uapiGroup(run: GroupRun): Promise<void> {
  const memory = new ProcessMemory();
  memory.mmap({ uptr: STRUCT, length: 16 * PAGE });
  const device = new IommufdDevice({ memory, commands: testCommands() });
  const deviceIoas = await device.iommufd.ioasAlloc();
  await device.iommufd.ioasMap({ ioas: deviceIoas, iova: IOVA, uptr: MAPPED, length: PAGE, prot: 'rw' });
  memory.write(STRUCT, encode('TEST_CREATE_ACCESS', { id: deviceIoas, flags: 0 }));
  await device.ioctl(COMMANDS.TEST_CREATE_ACCESS.request, STRUCT);
  const file = new DataView(memory.read(STRUCT, 72).buffer).getUint32(16, true);

  const iommufd = new Iommufd({ memory });
  const driver = new TestDriver(iommufd, { memory });
  const ioas = await iommufd.ioasAlloc();
  await iommufd.ioasMap({ ioas, iova: IOVA, uptr: MAPPED, length: PAGE, prot: 'rw' });
  const typedFile = await driver.createAccess({ ioas, flags: 0 });

  const rw = prepared(memory, device, 'TEST_ACCESS_RW', {
    id: file,
    iova: IOVA,
    length: BYTES,
    uptr: BUFFER,
    flags: 0,
  });
  const range = { iova: ELSEWHERE, length: PAGE };
  const unmap = prepared(memory, device, 'IOAS_UNMAP', { ioasId: deviceIoas, ...range });
  const typedRw = () => driver.accessRw(typedFile, { iova: IOVA, length: BYTES, flags: 0 });
  const typedUnmap = () => iommufd.ioasUnmap({ ioas, ...range }).catch(() => undefined);
  await run.measure([
    { row: 'uapiRw', subject: UAPI, size: BYTES, run: (count) => repeat(count, rw) },
    { row: 'uapiRw', subject: OURS, size: BYTES, run: (count) => repeat(count, typedRw) },
  ]);
  await run.measure([
    { row: 'uapiUnmap', subject: UAPI, size: PAGE, run: (count) => repeat(count, unmap) },
    { row: 'uapiUnmap', subject: OURS, size: PAGE, run: (count) => repeat(count, typedUnmap) },
  ]);
}

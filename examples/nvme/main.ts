/** Serves an NVMe disk: `npx tsx examples/nvme/main.ts --socket PATH [--disk FILE | --size MIB]`. */
import { parseArgs } from 'node:util';
import { PROFILES } from 'io-pagetable';
import { serve } from 'io-pagetable/vfio-user';
import { NvmeController } from './controller.js';
import { FileStorage, MemoryStorage } from './storage.js';

const USAGE =
  'usage: npx tsx examples/nvme/main.ts --socket PATH [--disk FILE | --size MIB] [--descriptors auto|always|never] ' +
  '[--memory FILE] [--profile NAME]';

const { values } = parseArgs({
  options: {
    socket: { type: 'string' },
    disk: { type: 'string' },
    size: { type: 'string', default: '64' },
    descriptors: { type: 'string', default: 'auto' },
    memory: { type: 'string' },
    profile: { type: 'string' },
  },
});
const { socket, disk, descriptors, memory, profile: wanted } = values;
const size = Number(values.size);
const profile = PROFILES.find((name) => name === wanted);
if (
  socket === undefined ||
  (descriptors !== 'auto' && descriptors !== 'always' && descriptors !== 'never') ||
  profile !== wanted ||
  !(size > 0)
) {
  console.error(USAGE);
  process.exit(2);
}

const storage =
  disk === undefined ? new MemoryStorage(Math.ceil(size) * 2 ** 20) : await FileStorage.open(disk);
const nvme = new NvmeController(storage);
nvme.pci.on('connect', () => console.log('a client is there'));
nvme.pci.on('disconnect', () => console.log('the client has gone'));
const server = await serve(nvme.pci, { socket, descriptors, memoryPath: memory, profile });
console.log(`serving at ${server.socket}, ${server.descriptors ? 'with' : 'without'} descriptors`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void server.close());

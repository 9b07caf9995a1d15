/** Serves a teaching device: `npx tsx examples/edu/main.ts --socket PATH`. */
import { parseArgs } from 'node:util';
import { PROFILES } from 'io-pagetable';
import { serve } from 'io-pagetable/vfio-user';
import { EduDevice } from './device.js';

const USAGE =
  'usage: npx tsx examples/edu/main.ts --socket PATH [--descriptors auto|always|never] [--memory FILE] [--profile NAME]';

const { values } = parseArgs({
  options: {
    socket: { type: 'string' },
    descriptors: { type: 'string', default: 'auto' },
    memory: { type: 'string' },
    profile: { type: 'string' },
  },
});
const { socket, descriptors, memory, profile: wanted } = values;
const profile = PROFILES.find((name) => name === wanted);
if (
  socket === undefined ||
  (descriptors !== 'auto' && descriptors !== 'always' && descriptors !== 'never') ||
  profile !== wanted
) {
  console.error(USAGE);
  process.exit(2);
}

const edu = new EduDevice();
edu.pci.on('connect', () => console.log('a client is there'));
edu.pci.on('disconnect', () => console.log('the client has gone'));
const server = await serve(edu.pci, { socket, descriptors, memoryPath: memory, profile });
console.log(`serving at ${server.socket}, ${server.descriptors ? 'with' : 'without'} descriptors`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void server.close());

/** `npx tsx examples/nvme/main.ts FILE [SOCKET]`: a disk that is a file, in a process of its own, until that is ended. */
import { open } from 'node:fs/promises';
import { serve } from 'io-pagetable/vfio-user';
import { NvmeController } from './controller.js';
import { fileDisk } from './disk.js';

const [path, socket = '/tmp/nvme.sock'] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: main.ts FILE [SOCKET]');
const disk = await fileDisk(await open(path, 'r+'));
await serve(new NvmeController({ disk, descriptors: false }).device, { socket });
console.log(`listening at ${socket}`);

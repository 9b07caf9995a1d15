/** `npx tsx examples/edu/main.ts [SOCKET]`: the device in a process of its own, until that is ended. */
import { serve } from 'io-pagetable/vfio-user';
import { Edu } from './edu.js';

const [socket = '/tmp/edu.sock'] = process.argv.slice(2);
await serve(new Edu({ descriptors: false }).device, { socket });
console.log(`listening at ${socket}`);

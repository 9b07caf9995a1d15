/** `npx tsx examples/postcopy/main.ts`: a guest runs here while its pages are fetched at their first use. */
import assert from 'node:assert/strict';
import { DmaFault, deviceRead, IommuError, IoptAccess, RadixDomain } from 'io-pagetable';
import { contentOf, PAGE_SIZE, PAGES, startGuest } from './guest.js';

const { source, local, uptr, memory, table } = startGuest();
const pageAt = (page: number) => uptr + BigInt(page * PAGE_SIZE);

/** The errno of a call that must not succeed. */
function refused(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof IommuError) return error.code;
    throw error;
  }
  assert.fail('the call succeeded');
}

// An access needs no pins: only the bytes that it reads are fetched.
const iova = table.mapSync({ uptr, length: PAGES * PAGE_SIZE, prot: 'rw' });
console.log(`a mapping without a device: nothing is pinned, ${source.requested.length} pages are fetched`);
const access = new IoptAccess({ needsPin: false });
await access.attach(table);
const bytes = new Uint8Array(16);
const at = iova + BigInt(6 * PAGE_SIZE - 8);
assert.equal(
  refused(() => access.readSync(at, bytes)),
  'EAGAIN',
);
const reading = access.read(at, bytes);
assert.deepEqual(source.requested, [5, 6]);
source.deliver();
await reading;
assert.deepEqual(bytes, new Uint8Array(16).fill(contentOf(5), 0, 8).fill(contentOf(6), 8));
console.log('readSync across pages 5 and 6: EAGAIN; read waits for both');
access.readSync(at, bytes); // now they are here
await access.detach();
await table.unmapAll();

// A device pins what is mapped for it.
const domain = new RadixDomain();
await table.addDomain(domain);
const request = { iova: 0x10_0000n, uptr: pageAt(4), length: 4 * PAGE_SIZE, prot: 'rw' as const };
assert.equal(
  refused(() => table.mapSync(request)),
  'EAGAIN',
);
assert.deepEqual(table.snapshot().areas, []);
console.log('mapSync of pages 4 to 7: EAGAIN, and nothing has changed');
const mapping = table.map(request);
const seen = new Uint8Array(PAGE_SIZE);
assert.throws(() => deviceRead(domain, memory, request.iova, seen), DmaFault);
console.log(`map waits for page ${source.requested}; the device can't see the mapping yet`);
await source.deliverUntil(mapping);
assert.equal(source.sent, 4);
for (let page = 4; page < 8; page++) {
  deviceRead(domain, memory, request.iova + BigInt((page - 4) * PAGE_SIZE), seen);
  assert.deepEqual(seen, new Uint8Array(PAGE_SIZE).fill(contentOf(page)));
}
console.log('then all 4 pages are pinned, of which 2 were here already');
table.mapSync({ ...request, iova: 0x20_0000n });
console.log('mapSync of the same pages: they are here now');

// A page that can't be had fails the map, and what was pinned before it is given back.
const pinned = local.physical.pinned;
const failing = table.map({ uptr: pageAt(7), length: 2 * PAGE_SIZE, prot: 'rw' });
source.disconnect();
const error = await failing.catch((reason: unknown) => reason);
assert(error instanceof IommuError);
assert.equal(error.code, 'EFAULT');
assert.equal(local.physical.pinned, pinned);
console.log(error.message);

// The rest comes by itself, and never over what is here.
local.write(pageAt(4), Uint8Array.of(0xff));
const rest = (async () => {
  while (await memory.prefetch());
})();
await source.deliverUntil(rest);
assert.equal(memory.missing, 0);
assert.equal(source.sent, PAGES);
assert.equal(local.read(pageAt(4), 1)[0], 0xff);
assert.equal(local.read(pageAt(63), 1)[0], contentOf(63));
console.log(`all ${PAGES} pages are here, each fetched once`);
await table.unmapAll();
assert.equal(local.physical.pinned, 0);

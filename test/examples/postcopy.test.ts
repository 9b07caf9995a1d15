import fc from 'fast-check';
import { deviceRead, deviceWrite, IoptAccess, RadixDomain } from 'io-pagetable';
import { describe, expect, test } from 'vitest';
import { contentOf, PAGE_SIZE, PAGES, startGuest } from '../../examples/postcopy/guest.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';

/** A guest with a device, so that what is mapped is pinned. */
async function withDevice() {
  const guest = startGuest();
  const domain = new RadixDomain();
  await guest.table.addDomain(domain);
  const request = (page: number, count: number) => ({
    iova: BigInt(page * PAGE_SIZE),
    uptr: guest.uptr + BigInt(page * PAGE_SIZE),
    length: count * PAGE_SIZE,
    prot: 'rw' as const,
  });
  return { ...guest, domain, request };
}

describe('a page that is elsewhere', () => {
  test('is EAGAIN for mapSync, with nothing changed, now or when the page comes after all', async () => {
    const { source, local, table, memory, request } = await withDevice();
    const error = expectErrorNow(() => table.mapSync(request(0, 4)), 'EAGAIN');
    expect(error.reason.check).toBe('would-wait');
    expect(table.snapshot().areas).toEqual([]);
    expect([local.physical.pinned, memory.missing]).toEqual([0, PAGES]);
    await source.deliverUntil(memory.prefetch());
    expect([local.physical.pinned, memory.missing]).toEqual([0, PAGES - 1]);
    table.check();
    expect(table.mapSync(request(0, 1))).toBe(0n);
  });

  test('is waited for by map, once for all that need it', async () => {
    const { source, local, table, domain, memory, request } = await withDevice();
    const twice = [table.map(request(3, 1)), table.map({ ...request(3, 1), iova: 0x100_0000n })];
    expect(source.requested).toEqual([3]);
    expect(local.physical.pinned).toBe(0);
    expect(domain.iovaToPhys(0x3000n)).toBeUndefined();
    source.deliver();
    await Promise.all(twice);
    expect(source.sent).toBe(1);
    expect(memory.missing).toBe(PAGES - 1);
    const seen = new Uint8Array(PAGE_SIZE);
    deviceRead(domain, memory, 0x100_0000n, seen);
    expect(seen).toEqual(new Uint8Array(PAGE_SIZE).fill(contentOf(3)));
    // Here, it is no reason to wait any more.
    expect(table.mapSync({ ...request(3, 1), iova: 0x200_0000n })).toBe(0x200_0000n);
    table.check();
  });

  test('that never comes fails the map, and all of it is undone', async () => {
    const { source, local, table, memory, request } = await withDevice();
    const first = table.map(request(0, 1));
    source.deliver();
    await first;
    const failing = table.map({ ...request(0, 3), iova: 0x100_0000n });
    source.disconnect();
    const error = await expectError(failing, 'EFAULT');
    expect(error.message).toContain('cannot be fetched: the source host is gone');
    expect(table.snapshot().areas).toHaveLength(1);
    expect([local.physical.pinned, memory.missing]).toEqual([1, PAGES - 1]);
    table.check();
    // The wire is back: it is asked for again.
    await source.deliverUntil(table.map({ ...request(0, 3), iova: 0x100_0000n }));
    expect(source.sent).toBe(3);
  });

  test('is waited for by an access, which reads and writes only what it is asked to', async () => {
    const { source, local, uptr, table, memory } = startGuest();
    const iova = table.mapSync({ uptr, length: PAGES * PAGE_SIZE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    expectErrorNow(() => access.writeSync(iova + 10n, Uint8Array.of(7)), 'EAGAIN');
    const writing = access.write(iova + 10n, Uint8Array.of(7));
    expect(source.requested).toEqual([0]);
    source.deliver();
    await writing;
    // The byte is written over what arrived, not under it.
    expect(local.read(uptr + 9n, 3)).toEqual(Uint8Array.of(contentOf(0), 7, contentOf(0)));
    expect([memory.missing, local.physical.pinned]).toEqual([PAGES - 1, 0]);
  });
});

test('whatever is mapped, written and prefetched, in whatever order, every page is fetched at most once', async () => {
  const page = fc.integer({ min: 0, max: PAGES - 1 });
  const step = fc.oneof(
    fc.record({ type: fc.constant('use' as const), page, count: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ type: fc.constant('prefetch' as const) }),
    fc.record({ type: fc.constant('deliver' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const { source, local, uptr, table, domain, memory, request } = await withDevice();
      const expected = Array.from({ length: PAGES }, (_, number) => contentOf(number));
      const going: Promise<unknown>[] = [];
      for (const [number, step] of steps.entries()) {
        if (step.type === 'deliver') source.deliver();
        else if (step.type === 'prefetch') going.push(memory.prefetch());
        else {
          const count = Math.min(step.count, PAGES - step.page);
          const iova = BigInt(number) << 20n;
          // The device marks the last page as soon as it can see it.
          const last = iova + BigInt(count * PAGE_SIZE) - 1n;
          expected[step.page + count - 1] = 200;
          going.push(
            table
              .map({ ...request(step.page, count), iova })
              .then(() => deviceWrite(domain, memory, last, Uint8Array.of(200))),
          );
        }
      }
      await source.deliverUntil(Promise.all(going));
      table.check();
      for (;;) if (!(await source.deliverUntil(memory.prefetch()))) break;
      expect([memory.missing, source.sent]).toEqual([0, PAGES]);
      const lastBytes = expected.map((_, at) => local.read(uptr + BigInt((at + 1) * PAGE_SIZE - 1), 1)[0]);
      expect(lastBytes).toEqual(expected);
      await table.unmapAll();
      expect(local.physical.pinned).toBe(0);
    }),
    { numRuns: 25 },
  );
});

/** What a table does with domains whose devices run at the same time: nothing is unpinned before they were flushed. */
import { describe, expect, test, vi } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, READ_ONLY, USER, World } from '../helpers/world.js';

/** A domain whose flush takes until the test says so. */
class FlushedDomain extends RecordingDomain {
  /** What the flushes wait for; `undefined`: nothing. */
  gate: PromiseWithResolver | undefined;
  flushes = 0;

  flush(): Promise<void> | undefined {
    this.flushes += 1;
    return this.gate?.promise;
  }

  close(): void {
    let resolve = (): void => undefined;
    const promise = new Promise<void>((done) => {
      resolve = done;
    });
    this.gate = { promise, resolve };
  }

  open(): void {
    this.gate?.resolve();
    this.gate = undefined;
  }
}

interface PromiseWithResolver {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

async function stage({ domains = 1, lockedPages }: { domains?: number; lockedPages?: number } = {}) {
  const world = new World(lockedPages);
  const table = world.table();
  const flushed = Array.from({ length: domains }, () => new FlushedDomain());
  for (const domain of flushed) await world.domain(table, domain);
  return { world, table, domains: flushed, domain: flushed[0]! };
}

const one = { uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' } as const;

describe('flush', () => {
  test('comes after the unmap and before the unpin, in every domain', async () => {
    const { world, table, domains } = await stage({ domains: 3 });
    await table.map(one);
    for (const domain of domains) domain.close();
    const unmap = watch(table.unmap(0x1000n, 2n * PAGE));
    await settled();
    for (const domain of domains) {
      expect([domain.contents, domain.flushes]).toEqual([{}, 1]);
      expect(unmap.state).toBe('pending');
      expect(world.physical.pinned).toBe(2);
      domain.open();
      await settled();
    }
    expect(unmap).toEqual({ state: 'fulfilled', value: 2n * PAGE });
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('is waited for also where other areas or accesses keep the pages pinned', async () => {
    const { world, table, domain } = await stage();
    await table.map(one);
    await table.copy({ from: table, srcIova: 0x1000n, iova: 0x8000n, length: PAGE, prot: 'r' });
    domain.close();
    const unmap = watch(table.unmap(0x8000n, PAGE));
    await settled();
    expect(unmap.state).toBe('pending');
    domain.open();
    await settled();
    expect(unmap.state).toBe('fulfilled');
    expect(world.physical.pinned).toBe(2);
    world.check();
  });

  test('is waited for by one area after the other, and cannot be aborted', async () => {
    const { world, table, domain } = await stage();
    await table.map(one);
    await table.map({ ...one, iova: 0x8000n, uptr: USER + 8n * PAGE });
    const controller = new AbortController();
    domain.close();
    const unmap = watch(table.unmap(0n, 0x10_0000n, { signal: controller.signal }));
    await settled();
    expect(world.physical.pinned).toBe(4);
    controller.abort();
    await settled();
    expect(unmap.state).toBe('pending');
    domain.open();
    domain.close();
    await settled();
    expect(world.physical.pinned).toBe(2);
    domain.open();
    await settled();
    expect(unmap).toEqual({ state: 'fulfilled', value: 4n * PAGE });
    world.check();
  });

  test('precedes the unpin when the domain is removed', async () => {
    const { world, table, domains } = await stage({ domains: 2 });
    await table.map(one);
    for (const domain of domains) {
      domain.close();
      const removal = watch(table.removeDomain(domain));
      await settled();
      expect([removal.state, domain.contents, world.physical.pinned]).toEqual(['pending', {}, 2]);
      domain.open();
      await settled();
      expect(removal.state).toBe('fulfilled');
      world.check();
    }
    expect(world.physical.pinned).toBe(0);
  });

  test('precedes the unpin when a map fails in a later domain', async () => {
    const { world, table, domains } = await stage({ domains: 2 });
    const before = world.state();
    domains[0]!.close();
    domains[1]!.mapsLeft = 0;
    const map = watch(table.map(one));
    await settled();
    expect([map.state, domains[0]!.contents, world.physical.pinned]).toEqual(['pending', {}, 2]);
    domains[0]!.open();
    await settled();
    expect(map).toMatchObject({ state: 'rejected', error: { code: 'ENOMEM' } });
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('precedes the unpin of a domain that fails to be filled, and of late memory', async () => {
    const { world, table } = await stage({ domains: 0 });
    await table.map(one);
    await table.map({ ...one, iova: 0x8000n, uptr: USER + 8n * PAGE });
    const before = world.state();
    const domain = new FlushedDomain();
    domain.mapsLeft = 1;
    domain.close();
    world.memory.close();
    const adding = watch(table.addDomain(domain));
    await settled();
    world.memory.open();
    await settled();
    await settled();
    expect([adding.state, domain.flushes > 0, world.physical.pinned]).toEqual(['pending', true, 4]);
    domain.open();
    await settled();
    expect(adding).toMatchObject({ state: 'rejected', error: { code: 'ENOMEM' } });
    expect(domain.contents).toEqual({});
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('precedes the unpin when the locked-memory limit refuses', async () => {
    const { world, table, domain } = await stage({ lockedPages: 1 });
    const before = world.state();
    domain.close();
    const map = watch(table.map(one));
    await settled();
    expect([map.state, domain.contents, world.physical.pinned]).toEqual(['pending', {}, 2]);
    domain.open();
    await settled();
    expect(map).toMatchObject({ state: 'rejected', error: { code: 'ENOMEM' } });
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('precedes the unpin when a map is aborted after it filled the domain', async () => {
    const { world, table, domain } = await stage();
    const before = world.state();
    const { iovaLock } = table.state;
    const controller = new AbortController();
    world.memory.close();
    const map = watch(table.map({ ...one, signal: controller.signal }));
    expect(iovaLock.tryWrite()).toBe(true);
    world.memory.open();
    await settled();
    expect(Object.keys(domain.contents)).toEqual(['0x1000', '0x2000']);
    domain.close();
    controller.abort();
    await settled();
    expect([domain.contents, world.physical.pinned]).toEqual([{}, 2]);
    domain.open();
    await settled();
    expect(world.physical.pinned).toBe(0);
    iovaLock.releaseWrite();
    await settled();
    expect(map).toMatchObject({ state: 'rejected', error: controller.signal.reason });
    expect(world.state()).toEqual(before);
    world.check();
  });
});

describe('calls that cannot wait', () => {
  test.each(['unmapSync', 'unmapAllSync'])(
    '%s gives EAGAIN, with nothing changed, where a flush would wait',
    async (name) => {
      const { world, table, domains } = await stage({ domains: 2 });
      await table.map(one);
      const call = () => (name === 'unmapSync' ? table.unmapSync(0n, 0x10_0000n) : table.unmapAllSync());
      domains[1]!.close();
      await world.unchanged(() => {
        expect(expectErrorNow(call, 'EAGAIN').reason.check).toBe('would-wait');
      });
      domains[1]!.open();
      expect(call()).toBe(2n * PAGE);
      expect(world.physical.pinned).toBe(0);
      world.check();
    },
  );

  test.each(['unmapSync', 'unmapAllSync'])(
    '%s gives EAGAIN, with nothing changed, where a domain says only after its unmap that it waits',
    async (name) => {
      class PendingDomain extends RecordingDomain {
        readonly marks = new Set<bigint>();
        readonly dirty = {
          tracking: true,
          setTracking: () => undefined,
          mark: (iova: bigint) => void this.marks.add(iova),
          readAndClear: (
            iova: bigint,
            size: bigint,
            _keep: boolean,
            report?: (at: bigint, size: bigint) => void,
          ) => {
            for (const at of this.marks) if (at >= iova && at < iova + size) report?.(at, PAGE);
          },
        };
        #pending = false;

        override unmap(iova: bigint, size: bigint): void {
          super.unmap(iova, size);
          for (const at of this.marks) if (at >= iova && at < iova + size) this.marks.delete(at);
          this.#pending = true;
        }

        flush(): Promise<void> | undefined {
          const answer = this.#pending ? settled() : undefined;
          this.#pending = false;
          return answer;
        }
      }
      const world = new World();
      const table = world.table();
      await world.domain(table);
      const domain = await world.domain(table, new PendingDomain());
      await world.domain(table, new RecordingDomain());
      await table.map(one);
      await table.map({ ...one, iova: 0x8000n, uptr: USER + 8n * PAGE });
      await table.copy({ from: table, srcIova: 0x1000n, iova: 0x10000n, length: PAGE, prot: 'r' });
      domain.dirty.mark(0x2000n);
      const call = () => (name === 'unmapSync' ? table.unmapSync(0n, 0x10_0000n) : table.unmapAllSync());
      await world.unchanged(() => expectErrorNow(call, 'EAGAIN'));
      await settled();
      expect([table.areaCount, world.physical.pinned, [...domain.marks]]).toEqual([3, 4, [0x2000n]]);
      domain.flush = () => undefined;
      expect(table.unmapSync(0x1000n, 0x10000n)).toBe(5n * PAGE);
      expect([table.areaCount, world.physical.pinned]).toEqual([0, 0]);
      world.check();
    },
  );

  test('mapSync that a domain refuses says so though the flush of another one waits, and leaves the place free', async () => {
    const { world, table, domain } = await stage();
    const second = await world.domain(table, new RecordingDomain());
    domain.close();
    second.mapsLeft = 0;
    for (let again = 0; again < 3; again++) {
      const error = expectErrorNow(() => table.mapSync(one), 'ENOMEM');
      expect([error.syscall, table.areaCount]).toEqual(['map', 0]);
    }
    // Each time what was pinned stays so until no device can be using it.
    expect(world.physical.pinned).toBe(6);
    domain.open();
    await settled();
    expect(world.physical.pinned).toBe(0);
    second.mapsLeft = 1;
    expect(table.mapSync(one)).toBe(one.iova);
    world.check();
  });

  test('leave a table alone while a reader may be using translations', async () => {
    const world = new World();
    const table = world.table();
    const [plain, shared, other] = [
      await world.domain(table),
      await world.domain(table, new RadixDomain({ shared: true, dirty: true })),
      await world.domain(table, new RadixDomain({ shared: true })),
    ];
    const [reader, second] = [RadixReader.from(shared.share()), RadixReader.from(other.share())];
    await table.map(one);
    await table.map({ ...one, iova: 0x8000n, uptr: READ_ONLY, prot: 'r' });
    shared.dirty?.setTracking(true);
    reader.dirty.mark(0x1000n, 1);
    reader.quiescent();
    const see = () => [reader.iovaToPhys(0x1000), second.iovaToPhys(0x9000), plain.iovaToPhys(0x1000)];
    const seen = see();
    expect(seen).not.toContain(undefined);
    reader.quiescent();
    // The second is busy: what was hidden in the other domain is shown again.
    for (const call of [() => table.unmapSync(0n, 0x10_0000n), () => table.unmapAllSync()]) {
      await world.unchanged(() => expectErrorNow(call, 'EAGAIN'));
      expect(see()).toEqual(seen);
      reader.quiescent();
    }
    second.quiescent();
    const dirty: bigint[] = [];
    shared.dirty?.readAndClear(0n, 2n ** 40n, true, (iova) => dirty.push(iova));
    expect(dirty).toEqual([0x1000n]);
    // It ends at the area that reaches out, which stays in sight.
    expect(expectErrorNow(() => table.unmapSync(0x1000n, 0x8000n), 'ENOENT').unmapped).toBe(2n * PAGE);
    expect(reader.iovaToPhys(0x9000)).toBeDefined();
    expect(reader.iovaToPhys(0x1000)).toBeUndefined();
    reader.quiescent();
    expect(table.unmapAllSync()).toBe(2n * PAGE);
    expect(table.unmapSync(0n, PAGE)).toBe(0n);
    expect([reader.iovaToPhys(0x9000), world.physical.pinned]).toEqual([undefined, 0]);
    reader.close();
    second.close();
    world.check();
  });

  test('do not wait for a reader that came while the range was hidden', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RadixDomain({ shared: true }));
    const reader = RadixReader.from(domain.share());
    await table.map(one);
    await table.map({ ...one, iova: 0x8000n, uptr: USER + 8n * PAGE });
    // The memory is asked to unpin in the middle of the unmap: here another thread would translate.
    const seen: (number | undefined)[] = [];
    const { memory } = world;
    const unpin = memory.unpin.bind(memory);
    vi.spyOn(memory, 'unpin').mockImplementation((pfn, count, dirty) => {
      seen.push(reader.iovaToPhys(0x1000), reader.iovaToPhys(0x9000));
      unpin(pfn, count, dirty);
    });
    expect(table.unmapAllSync()).toBe(4n * PAGE);
    expect(seen).toEqual(Array(4).fill(undefined));
    expect(world.physical.pinned).toBe(0);
    reader.close();
    world.check();
  });
});

describe('a reader of a table that unmaps', () => {
  test('is waited for, and finds nothing meanwhile', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RadixDomain({ shared: true }));
    const reader = RadixReader.from(domain.share());
    await table.map(one);
    expect(reader.iovaToPhys(0x1000n)).toBe(domain.iovaToPhys(0x1000n));
    const unmap = watch(table.unmap(0x1000n, 2n * PAGE));
    await settled();
    expect([unmap.state, reader.iovaToPhys(0x1000), world.physical.pinned]).toEqual([
      'pending',
      undefined,
      2,
    ]);
    reader.quiescent();
    while (unmap.state === 'pending') await settled();
    expect([unmap.value, world.physical.pinned]).toEqual([2n * PAGE, 0]);
    await expectError(table.unmap(0x1000n, 0n), 'EINVAL');
    world.check();
  });
});

import fc from 'fast-check';
import { ProcessMemory } from 'io-pagetable';
import { describe, expect, test } from 'vitest';
import { MSI_WINDOW, RAM_LENGTH, startMachine } from '../../examples/virtio-iommu/machine.js';
import {
  decodeFault,
  encodeFault,
  encodeRequest,
  FAULT_ADDRESS,
  FAULT_READ,
  FAULT_WRITE,
  FaultReason,
  MAP_READ,
  MAP_WRITE,
  PROBE_SIZE,
  type StatusName,
} from '../../examples/virtio-iommu/protocol.js';

const PAGE = 0x1000n;
const BOTH = MAP_READ | MAP_WRITE;

/** A machine with domain 7, in which the network card is. */
async function attached(memory?: ProcessMemory) {
  const machine = startMachine(memory);
  expect(await machine.driver.attach(7, 1)).toBe('OK');
  const map = (start: bigint, end: bigint, physical = 0x8000n, flags = BOTH) =>
    machine.driver.map({ domain: 7, start, end, physical, flags });
  return { ...machine, map, unmap: (start: bigint, end: bigint) => machine.driver.unmap(7, start, end) };
}

describe('the binary layout', () => {
  test('requests', () => {
    const hex = (...request: Parameters<typeof encodeRequest>) =>
      Buffer.from(encodeRequest(...request)).toString('hex');
    const [domain, endpoint] = [0x11223344, 0x55667788];
    const [start, end] = [0x0102030405060000n, 0x0102030405060fffn];
    expect(hex({ type: 'ATTACH', domain, endpoint, flags: 1 })).toBe(
      ['01000000', '44332211', '88776655', '01000000', '00000000'].join(''),
    );
    expect(hex({ type: 'DETACH', domain, endpoint })).toBe(
      ['02000000', '44332211', '88776655', '0000000000000000'].join(''),
    );
    expect(hex({ type: 'MAP', domain, start, end, physical: 0x8000n, flags: 3 })).toBe(
      ['03000000', '44332211', '0000060504030201', 'ff0f060504030201', '0080000000000000', '03000000'].join(
        '',
      ),
    );
    expect(hex({ type: 'UNMAP', domain, start, end })).toBe(
      ['04000000', '44332211', '0000060504030201', 'ff0f060504030201', '00000000'].join(''),
    );
    expect(hex({ type: 'PROBE', endpoint })).toBe(`05000000${'88776655'}${'00'.repeat(64)}`);
  });

  test('features and configuration', () => {
    const { iommu, driver } = startMachine();
    // INPUT_RANGE is bit 0, MAP_UNMAP bit 2, PROBE bit 4.
    expect(iommu.features).toBe(0b10101);
    expect(Buffer.from(iommu.configuration).toString('hex')).toBe(
      [
        '0010204000000000',
        ['0000000000000000', 'ffffffffffff0000'].join(''),
        ['00000000', '00000000'].join(''),
        '80000000',
        '00000000',
      ].join(''),
    );
    expect(driver.configuration).toEqual({
      pageSizeMask: 0x4020_1000n,
      inputRange: { start: 0n, end: 0xffff_ffff_ffffn },
      probeSize: PROBE_SIZE,
    });
  });

  test('a fault', () => {
    const fault = { reason: 2, flags: 0x102, endpoint: 0x55667788, address: 0x0102030405060708n };
    expect(Buffer.from(encodeFault(fault)).toString('hex')).toBe(
      ['02', '000000', '02010000', '88776655', '00000000', '0807060504030201'].join(''),
    );
    expect(decodeFault(encodeFault(fault))).toEqual(fault);
  });

  test('the answer to PROBE: RESV_MEM properties, zeros, and the tail', async () => {
    const { driver } = startMachine();
    const { answer } = await driver.send({ type: 'PROBE', endpoint: 1 });
    const property = ['0100', '1400', '01', '000000', '0000e0fe00000000', 'ffffeffe00000000'].join('');
    expect(Buffer.from(answer).toString('hex')).toBe(property.padEnd(2 * PROBE_SIZE + 8, '0'));
    expect(await driver.probe(1)).toEqual({ status: 'OK', reserved: [MSI_WINDOW] });
    expect(await driver.probe(2)).toEqual({ status: 'OK', reserved: [] });
    expect(await driver.probe(3)).toEqual({ status: 'NOENT', reserved: [] });
  });
});

describe('status codes', () => {
  test('ATTACH and DETACH', async () => {
    const { driver, nic, disk, iommu } = startMachine();
    expect(await driver.attach(7, 3)).toBe('NOENT');
    expect((await driver.send({ type: 'ATTACH', domain: 7, endpoint: 1, flags: 1 })).status).toBe('INVAL');
    expect(iommu.domains.size).toBe(0);
    expect(await driver.attach(7, 1)).toBe('OK');
    expect(await driver.attach(7, 1)).toBe('OK');
    expect(await driver.attach(7, 2)).toBe('OK');
    expect(nic.domain).toBe(disk.domain);
    // To another domain: out of the old one, which lives on with the other endpoint.
    expect(await driver.attach(8, 1)).toBe('OK');
    expect([...iommu.domains.keys()]).toEqual([7, 8]);
    expect(await driver.detach(7, 1)).toBe('INVAL');
    expect(await driver.detach(9, 1)).toBe('INVAL');
    expect(await driver.detach(8, 3)).toBe('NOENT');
    expect(await driver.detach(7, 2)).toBe('OK');
    expect([...iommu.domains.keys()]).toEqual([8]);
  });

  test('ATTACH to a domain that maps what the endpoint cannot use is UNSUPP, and it stays where it is', async () => {
    const { driver, nic, iommu } = startMachine();
    expect(await driver.attach(7, 1)).toBe('OK');
    expect(await driver.attach(8, 2)).toBe('OK');
    const { start, end } = MSI_WINDOW;
    const request = { domain: 8, start, end: start + PAGE - 1n, physical: 0x8000n, flags: BOTH };
    expect(await driver.map(request)).toBe('OK');
    expect(await driver.attach(8, 1)).toBe('UNSUPP');
    expect(nic.domain).toBe(iommu.domains.get(7));
    expect(await driver.unmap(8, start, end)).toBe('OK');
    expect(await driver.attach(8, 1)).toBe('OK');
    expect([...iommu.domains.keys()]).toEqual([8]);
    // Reserved as long as the endpoint is there.
    expect(await driver.map(request)).toBe('INVAL');
    expect(await driver.detach(8, 1)).toBe('OK');
    expect(await driver.map(request)).toBe('OK');
  });

  const mapped: [string, StatusName, bigint, bigint, bigint?, number?][] = [
    ['a page', 'OK', 0n, 0xfffn],
    ['the last page of the input range', 'OK', 0xffff_ffff_f000n, 0xffff_ffff_ffffn],
    ['write-only', 'OK', 0n, 0xfffn, 0x8000n, MAP_WRITE],
    ['past the input range', 'RANGE', 0xffff_ffff_f000n, 0x1_0000_0000_0fffn],
    ['all 64 bits', 'RANGE', 0n, 0xffff_ffff_ffff_ffffn],
    ['an unaligned start', 'RANGE', 0x800n, 0xfffn],
    ['an unaligned end', 'RANGE', 0n, 0x800n],
    ['an unaligned physical address', 'RANGE', 0n, 0xfffn, 0x8800n],
    ['nothing', 'INVAL', 0x1000n, 0xfffn],
    ['unknown flags', 'INVAL', 0n, 0xfffn, 0x8000n, 4],
    ['the MSI window', 'INVAL', 0xfee0_f000n, 0xfee0_ffffn],
    ['what is no RAM', 'FAULT', 0n, 0xfffn, RAM_LENGTH],
    ['more than the RAM has', 'FAULT', 0n, 0x1fffn, RAM_LENGTH - PAGE],
    ['the end of physical addresses', 'FAULT', 0n, 0xfffn, 0xffff_ffff_ffff_f000n],
  ];
  test.each(mapped)('MAP %s: %s', async (_, status, start, end, physical, flags) => {
    const { map, memory, iommu } = await attached();
    expect(await map(start, end, physical, flags)).toBe(status);
    expect(memory.physical.pinned).toBe(status === 'OK' ? 1 : 0);
    iommu.domains.get(7)!.check();
  });

  test('MAP and UNMAP of a domain that there is not', async () => {
    const { driver } = await attached();
    const request = { domain: 8, start: 0n, end: 0xfffn, physical: 0n, flags: BOTH };
    expect(await driver.map(request)).toBe('NOENT');
    expect(await driver.unmap(8, 0n, 0xfffn)).toBe('NOENT');
  });

  test('MAP beyond the locked-memory limit is NOMEM', async () => {
    const { map } = await attached(new ProcessMemory({ lockedLimit: 2n * PAGE }));
    expect(await map(0n, 0x2fffn)).toBe('NOMEM');
    expect(await map(0n, 0x1fffn)).toBe('OK');
    expect(await map(0x2000n, 0x2fffn)).toBe('NOMEM');
  });

  test('UNMAP takes whole mappings only, and all or none of them', async () => {
    const { map, unmap, memory } = await attached();
    expect(await map(0n, 0x1fffn)).toBe('OK');
    expect(await map(0x3000n, 0x4fffn)).toBe('OK');
    // The first mapping is wholly inside, the second is not.
    expect(await unmap(0n, 0x3fffn)).toBe('RANGE');
    expect(await unmap(0x1000n, 0x4fffn)).toBe('RANGE');
    expect(memory.physical.pinned).toBe(4);
    expect(await unmap(0x2000n, 0x2fffn)).toBe('OK');
    expect(await unmap(0x5000n, 0x4fffn)).toBe('INVAL');
    expect(await unmap(0n, 0x4fffn)).toBe('OK');
    expect(memory.physical.pinned).toBe(0);
    expect(await unmap(0n, 0xffff_ffff_ffff_ffffn)).toBe('OK');
    expect(await unmap(0x1_0000_0000_0000n, 0xffff_ffff_ffff_ffffn)).toBe('OK');
  });

  test('reserved fields: those of the head are ignored, others must be zero', async () => {
    const { driver } = await attached();
    const detach = encodeRequest({ type: 'DETACH', domain: 7, endpoint: 1 });
    expect(await driver.sendBytes(detach.with(12, 1), 4)).toEqual(Uint8Array.of(4, 0, 0, 0));
    const unmap = encodeRequest({ type: 'UNMAP', domain: 7, start: 0n, end: 0xfffn });
    expect(await driver.sendBytes(unmap.with(27, 1), 4)).toEqual(Uint8Array.of(4, 0, 0, 0));
    const attach = encodeRequest({ type: 'ATTACH', domain: 7, endpoint: 2, flags: 0 });
    expect(await driver.sendBytes(attach.with(19, 1), 4)).toEqual(Uint8Array.of(4, 0, 0, 0));
    const probe = encodeRequest({ type: 'PROBE', endpoint: 1 }).with(71, 1);
    expect((await driver.sendBytes(probe, PROBE_SIZE + 4)).at(-4)).toBe(4);
    expect(await driver.sendBytes(detach.with(1, 0xff).with(3, 0xff), 4)).toEqual(Uint8Array.of(0, 0, 0, 0));
  });

  test('requests that are none', async () => {
    const { driver, ram, requests, iommu } = startMachine();
    // Unknown, or without room for a status: given back with length 0.
    expect(await driver.sendBytes(new Uint8Array(64).fill(9), 64)).toHaveLength(0);
    expect(await driver.sendBytes(Uint8Array.of(1, 0, 0), 4)).toHaveLength(0);
    const attach = encodeRequest({ type: 'ATTACH', domain: 7, endpoint: 1, flags: 0 });
    expect(await driver.sendBytes(attach, 3)).toHaveLength(0);
    expect(iommu.domains.size).toBe(0);
    // Too short: IOERR.
    expect(await driver.sendBytes(attach.subarray(0, 19), 4)).toEqual(Uint8Array.of(1, 0, 0, 0));
    expect(await driver.sendBytes(attach, 4)).toEqual(Uint8Array.of(0, 0, 0, 0));
    // A queue that is broken ends it.
    ram.write(0n, new Uint8Array(0x200).fill(0xff));
    await iommu.notify();
    expect(iommu.needsReset).toBe(true);
    expect(requests.usedIndex).not.toBe(0);
  });
});

describe('DMA', () => {
  test('goes through the domain, and only as far as it lets it', async () => {
    const { nic, disk, ram, map, driver } = await attached();
    expect(await map(0x1000n, 0x2fffn, 0x8000n, MAP_READ)).toBe('OK');
    expect(await map(0x3000n, 0x3fffn, 0x6000n, MAP_WRITE)).toBe('OK');
    ram.write(0x8ffen, Uint8Array.of(1, 2, 3, 4));
    expect(nic.read(0x1ffen, 4)).toEqual(Uint8Array.of(1, 2, 3, 4));
    expect(nic.write(0x3000n, Uint8Array.of(9))).toBe(true);
    expect(ram.read(0x6000n, 1)).toEqual(Uint8Array.of(9));
    expect(driver.takeFaults()).toEqual([]);

    expect(nic.write(0x1000n, Uint8Array.of(1))).toBe(false);
    expect(nic.read(0x2ffen, 4)).toBeUndefined();
    expect(nic.read(MSI_WINDOW.start, 4)).toBeUndefined();
    expect(disk.read(0x1000n, 4)).toBeUndefined();
    const [read, write] = [FAULT_READ | FAULT_ADDRESS, FAULT_WRITE | FAULT_ADDRESS];
    expect(driver.takeFaults()).toEqual([
      { reason: FaultReason.MAPPING, flags: write, endpoint: 1, address: 0x1000n },
      { reason: FaultReason.MAPPING, flags: read, endpoint: 1, address: 0x3000n },
      { reason: FaultReason.MAPPING, flags: read, endpoint: 1, address: MSI_WINDOW.start },
      { reason: FaultReason.DOMAIN, flags: read, endpoint: 2, address: 0x1000n },
    ]);
  });

  test('faults are dropped while the driver has left no buffer', async () => {
    const { nic, driver } = startMachine();
    for (let at = 0n; at < 20n; at++) nic.read(at, 1);
    expect(driver.takeFaults().map(({ address }) => address)).toEqual([0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n]);
    nic.read(20n, 1);
    expect(driver.takeFaults().map(({ address }) => address)).toEqual([20n]);
  });
});

test('any requests: what is answered and translated is what lists of mappings say', async () => {
  const page = fc.integer({ min: 0, max: 11 });
  const domain = fc.constantFrom(7, 8);
  const range = fc.tuple(page, page).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
  const request = fc.oneof(
    fc.record({ type: fc.constant('map' as const), domain, range, to: fc.integer({ min: 16, max: 40 }) }),
    fc.record({ type: fc.constant('unmap' as const), domain, range }),
    fc.record({ type: fc.constant('attach' as const), domain, endpoint: fc.constantFrom(1, 2) }),
    fc.record({ type: fc.constant('detach' as const), domain, endpoint: fc.constantFrom(1, 2) }),
  );
  interface Mapping {
    readonly first: number;
    readonly last: number;
    readonly to: number;
  }
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 10, maxLength: 40 }), async (requests) => {
      const { driver, ram, nic, disk, iommu, memory } = startMachine();
      for (let frame = 16; frame < 64; frame++) ram.write(BigInt(frame) * PAGE, Uint8Array.of(frame));
      const domains = new Map<number, Mapping[]>();
      const places = new Map<number, number>();
      const leave = (endpoint: number) => {
        const left = places.get(endpoint);
        places.delete(endpoint);
        if (left !== undefined && ![...places.values()].includes(left)) domains.delete(left);
      };
      const expected = (asked: (typeof requests)[number]): StatusName => {
        const known = domains.get(asked.domain);
        if (asked.type === 'attach') {
          if (places.get(asked.endpoint) === asked.domain) return 'OK';
          leave(asked.endpoint);
          places.set(asked.endpoint, asked.domain);
          if (known === undefined) domains.set(asked.domain, []);
          return 'OK';
        }
        if (asked.type === 'detach') {
          if (places.get(asked.endpoint) !== asked.domain) return 'INVAL';
          leave(asked.endpoint);
          return 'OK';
        }
        if (known === undefined) return 'NOENT';
        const { first, last } = asked.range;
        const touched = known.filter((mapping) => mapping.first <= last && mapping.last >= first);
        if (asked.type === 'map') {
          if (touched.length > 0) return 'INVAL';
          known.push({ first, last, to: asked.to });
          return 'OK';
        }
        if (touched.some((mapping) => mapping.first < first || mapping.last > last)) return 'RANGE';
        domains.set(
          asked.domain,
          known.filter((mapping) => !touched.includes(mapping)),
        );
        return 'OK';
      };

      for (const asked of requests) {
        const { type, domain: number } = asked;
        let status: StatusName;
        if (type === 'attach') status = await driver.attach(number, asked.endpoint);
        else if (type === 'detach') status = await driver.detach(number, asked.endpoint);
        else {
          const start = BigInt(asked.range.first) * PAGE;
          const end = BigInt(asked.range.last + 1) * PAGE - 1n;
          if (type === 'unmap') status = await driver.unmap(number, start, end);
          else
            status = await driver.map({
              domain: number,
              start,
              end,
              physical: BigInt(asked.to) * PAGE,
              flags: BOTH,
            });
        }
        expect(status).toBe(expected(asked));

        expect([...iommu.domains.keys()].sort()).toEqual([...domains.keys()].sort());
        for (const domain of iommu.domains.values()) domain.check();
        for (const endpoint of [nic, disk]) {
          const mappings = domains.get(places.get(endpoint.id) ?? -1) ?? [];
          for (let at = 0; at < 12; at++) {
            const mapping = mappings.find(({ first, last }) => first <= at && at <= last);
            const byte = mapping && Uint8Array.of(mapping.to + at - mapping.first);
            expect(endpoint.read(BigInt(at) * PAGE, 1)).toEqual(byte);
          }
        }
      }
      for (const [endpoint, place] of places) expect(await driver.detach(place, endpoint)).toBe('OK');
      expect(memory.physical.pinned).toBe(0);
    }),
    { numRuns: 30 },
  );
});

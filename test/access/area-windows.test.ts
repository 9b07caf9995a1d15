/** The quick way of the synchronous transfers does what the long way does. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { expectErrorNow } from '../helpers/expect-error.js';
import { GatedMemory } from '../helpers/gated-memory.js';

declare const WebAssembly: {
  Memory: new (options: {
    initial: number;
    maximum: number;
  }) => {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  };
};

const PAGE = 4096;
/** User addresses of the regions, which follow one on the other. */
const PLAIN = 0x1000_0000;
const SPARSE = PLAIN + 16 * PAGE;
const RESIZABLE = SPARSE + 1024 * PAGE;
const WASM = RESIZABLE + 16 * PAGE;
const READ_ONLY = WASM + 48 * PAGE;
const PAST = READ_ONLY + 8 * PAGE;
/** Where something ends or begins: regions, pieces of sparse memory, what there is so far of buffers that grow. */
const EDGES = [PLAIN, SPARSE, SPARSE + 512 * PAGE, RESIZABLE, RESIZABLE + 8 * PAGE, WASM, WASM + 16 * PAGE]
  .concat([WASM + 32 * PAGE, READ_ONLY, PAST])
  .map((address) => address / PAGE);
/** Two spaces of pages that share the slots of the windows, and one past what a 32-bit number counts. */
const IOVAS = [0x1000_0000, 0x1040_0000, 2 ** 45].map((address) => address / PAGE);

/** A table over memory of all kinds, in which the transfers go one way or the other. */
class Stage {
  readonly memory = new ProcessMemory();
  readonly table = new IoPagetable({ memory: this.memory });
  readonly access = new IoptAccess({ needsPin: false });
  readonly quick: boolean;
  readonly plain = new ArrayBuffer(16 * PAGE);
  readonly resizable: ArrayBuffer = Reflect.construct(ArrayBuffer, [8 * PAGE, { maxByteLength: 16 * PAGE }]);
  readonly wasm = new WebAssembly.Memory({ initial: 1, maximum: 3 });

  constructor(quick: boolean) {
    this.quick = quick;
    const { memory } = this;
    memory.mmap({ uptr: PLAIN, length: 16 * PAGE, buffer: this.plain });
    memory.mmap({ uptr: SPARSE, length: 1024 * PAGE, sparse: true, frames: 'scattered' });
    memory.mmap({ uptr: RESIZABLE, length: 16 * PAGE, buffer: this.resizable });
    memory.mmap({ uptr: WASM, length: 48 * PAGE, buffer: this.wasm });
    memory.mmap({ uptr: READ_ONLY, length: 8 * PAGE, writable: false });
  }

  /** What a step gave: its result, or what is wrong. */
  async do(step: Step): Promise<unknown> {
    try {
      return await this.#do(step);
    } catch (error) {
      const { code, reason, message } = error as Error & { code?: string; reason?: unknown };
      return { code, reason, message };
    }
  }

  #do({ do: what, iova, user, length, pick, write }: Step): unknown {
    const { memory, table, access } = this;
    const pages = Math.ceil(length / PAGE) * PAGE;
    const page = user - (user % PAGE);
    if (what === 'map') return table.mapSync({ iova, uptr: user, length, prot: PROTS[pick % PROTS.length]! });
    if (what === 'copy') {
      const srcIova = IOVAS[pick % IOVAS.length]! * PAGE;
      return table.copySync({ from: table, srcIova, iova, length, prot: 'rw' });
    }
    if (what === 'unmap') return table.unmapSync(iova, length);
    if (what === 'cut') return table.cutIova([iova]);
    if (what === 'transfer') {
      const buffer = Uint8Array.from({ length }, (_, at) => pick + at);
      const options = this.quick ? [] : [{}];
      if (write) access.writeSync(iova, buffer, ...options);
      else access.readSync(iova, buffer, ...options);
      return Buffer.from(buffer).toString('hex');
    }
    if (what === 'munmap') return memory.munmap(page, pages);
    if (what === 'mmap') return memory.mmap({ uptr: page, length: pages }).uptr;
    if (what === 'protect') return memory.protect(page, pages, write);
    if (what === 'resize') {
      return Reflect.apply(Reflect.get(this.resizable, 'resize'), this.resizable, [(pick % 17) * PAGE + 7]);
    }
    if (what === 'grow') return this.wasm.grow(1);
    if (what === 'detach') return void structuredClone(this.plain, { transfer: [this.plain] });
    return memory.exit();
  }

  /** All bytes that the process can read. */
  contents(): string {
    const { memory } = this;
    const pages: string[] = [];
    for (const edge of EDGES) {
      for (let page = edge - 4; page < edge + 8; page++) {
        const bytes = new Uint8Array(PAGE);
        const length = memory.copyFromUser(page, 0, bytes, 0, PAGE);
        pages.push(Buffer.from(bytes.subarray(0, length)).toString('base64'));
      }
    }
    return pages.join(' ');
  }
}

const PROTS = ['rw', 'rw', 'rw', 'rw', 'r', 'w'] as const;
const RARE = ['munmap', 'mmap', 'protect', 'protect', 'resize', 'resize', 'grow', 'detach', 'exit'] as const;

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
const inPage = fc.oneof(fc.constant(0), fc.constant(0), fc.nat(PAGE - 1));
const near = (pages: readonly number[], back: number, on: number) =>
  fc
    .tuple(fc.constantFrom(...pages), fc.integer({ min: -back, max: on }), inPage)
    .map(([page, by, offset]) => (page + by) * PAGE + offset);
const length = fc.oneof(fc.constantFrom(0, PAGE), fc.integer({ min: 1, max: 100 }), fc.nat(2 * PAGE));
const step = fc.record({
  do: fc.oneof(
    { weight: 4, arbitrary: fc.constant('map' as const) },
    { weight: 2, arbitrary: fc.constantFrom('copy' as const, 'cut' as const, 'unmap' as const) },
    { weight: 30, arbitrary: fc.constant('transfer' as const) },
    { weight: 1, arbitrary: fc.constantFrom(...RARE) },
  ),
  iova: near(IOVAS, 0, 3),
  user: near(EDGES, 3, 2),
  length,
  pick: fc.nat(255),
  write: fc.boolean(),
});
/** Areas to begin with, one after the other in each space. */
const beginning = fc
  .array(fc.tuple(near(EDGES, 2, 0), fc.integer({ min: 1, max: 4 * PAGE }), fc.nat(255)), {
    minLength: 9,
    maxLength: 9,
  })
  .map((areas) => {
    const next = IOVAS.map((page) => page * PAGE);
    return areas.map(([user, size, pick], at): Step => {
      const iova = next[at % next.length]!;
      next[at % next.length] = iova + size;
      return { do: 'map', iova, user, length: size, pick, write: false };
    });
  });

describe('a synchronous transfer', () => {
  test('gives the same bytes, errors and memory as the long way, whatever was mapped and changed before', async () => {
    let done = 0;
    await fc.assert(
      fc.asyncProperty(beginning, fc.array(step, { maxLength: 60, size: 'max' }), async (areas, steps) => {
        const stages = [new Stage(true), new Stage(false)] as const;
        for (const { access, table } of stages) await access.attach(table);
        for (const each of [...areas, ...steps]) {
          const quick = await stages[0].do(each);
          expect(quick).toEqual(await stages[1].do(each));
          if (each.do === 'transfer' && typeof quick === 'string') done += 1;
        }
        expect(stages[0].contents()).toBe(stages[1].contents());
      }),
      { numRuns: 200 },
    );
    expect(done).toBeGreaterThan(300);
  });

  async function warm() {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 4 * PAGE });
    const table = new IoPagetable({ memory });
    await table.map({ iova: 0, uptr, length: 4 * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    const word = new Uint8Array(8);
    access.writeSync(PAGE, word);
    return { memory, uptr, table, access, word };
  }

  test('is refused in an area that is cut, unmapped, or being unmapped', async () => {
    const { table, access, word } = await warm();
    await table.cutIova([2 * PAGE - 1]);
    access.readSync(PAGE, word);
    let release = () => {};
    const range = await table.access(PAGE, 16, {
      onUnmap: () =>
        new Promise((resolve) => {
          release = () => resolve(range.release());
        }),
    });
    const unmapping = table.unmap(0, 2 * PAGE);
    expectErrorNow(() => access.readSync(PAGE, word), 'EINVAL');
    release();
    await unmapping;
    expectErrorNow(() => access.readSync(PAGE, word), 'ENOENT');
    access.readSync(2 * PAGE, word);
  });

  test('goes to the table that the access is attached to now', async () => {
    const { memory, uptr, access, word } = await warm();
    const other = new IoPagetable({ memory });
    await other.map({ iova: PAGE, uptr, length: PAGE, prot: 'rw' });
    await access.replace(other);
    memory.write(uptr, Uint8Array.of(5));
    access.readSync(PAGE, word);
    expect(word[0]).toBe(5);
    await access.detach();
    expectErrorNow(() => access.readSync(PAGE, word), 'ENOENT');
  });

  test('that would have to wait in its second area changes nothing in the first', async () => {
    const { uptr, table, access } = await warm();
    const late = Object.assign(new GatedMemory(new ProcessMemory()), { resident: () => false });
    await table.map({ iova: 4 * PAGE, uptr, length: PAGE, prot: 'rw', memory: late });
    const bytes = new Uint8Array(16).fill(1);
    expectErrorNow(() => access.writeSync(4 * PAGE - 8, bytes), 'EAGAIN');
    access.readSync(4 * PAGE - 8, bytes.subarray(0, 8));
    expect([...bytes.subarray(0, 8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('asks a memory that copies in its own way', async () => {
    class Watched extends ProcessMemory {
      readonly reads: number[] = [];
      override copyFromUser(...request: Parameters<ProcessMemory['copyFromUser']>): number {
        this.reads.push(request[4]);
        return super.copyFromUser(...request);
      }
    }
    const memory = new Watched({ physical: new PhysicalMemory() });
    const { uptr } = memory.mmap({ length: PAGE });
    const table = new IoPagetable({ memory });
    await table.map({ iova: 0, uptr, length: PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    access.readSync(8, new Uint8Array(3));
    access.readSync(8, new Uint8Array(4));
    expect(memory.reads).toEqual([3, 4]);
  });
});

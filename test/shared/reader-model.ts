/**
 * Many readers of one domain that are opened, closed, closed again, evicted and forged in any order, and who of them may
 * be using what.
 */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { RadixHandle } from '../../src/domain/radix-handle.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { recordOf, TRACKING } from '../../src/domain/shared-control.js';
import { LEAF, TABLE } from '../../src/domain/table-entry.js';

const PAGE = 4096;
const PAGES = 6;
/** Pages of the model are so far apart that some need tables of their own. */
const STRIDE = 2 ** 9 - 1;

/** A reader is asked about a page. */
interface PageStep {
  readonly op: 'translate' | 'read' | 'mark';
  readonly reader: number;
  readonly page: number;
}

/** Numbers choose among what is there, so that each step can be carried out. */
export type ReaderStep =
  | { readonly op: 'share' | 'quiesce' | 'hide' | 'show' | 'track' }
  | { readonly op: 'unshare' | 'open'; readonly handle: number }
  | { readonly op: 'close' | 'quiescent'; readonly reader: number }
  | PageStep
  | { readonly op: 'map' | 'unmap'; readonly page: number }
  | { readonly op: 'forge'; readonly handle: number; readonly how: number };

const nat = fc.nat(40);
const page = fc.nat(PAGES - 1);
const names = <Name extends string>(...all: Name[]) => fc.constantFrom(...all);

/** Steps; those that are about readers are the most frequent. */
export const readerSteps: fc.Arbitrary<ReaderStep[]> = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.record({ op: names('share', 'quiesce', 'hide', 'show', 'track') }) },
    { weight: 1, arbitrary: fc.record({ op: names('unshare'), handle: nat }) },
    { weight: 3, arbitrary: fc.record({ op: names('open'), handle: nat }) },
    { weight: 5, arbitrary: fc.record({ op: names('close', 'quiescent'), reader: nat }) },
    { weight: 8, arbitrary: fc.record({ op: names('translate', 'read', 'mark'), reader: nat, page }) },
    { weight: 3, arbitrary: fc.record({ op: names('map', 'unmap'), page }) },
    { weight: 1, arbitrary: fc.record({ op: names('forge'), handle: nat, how: nat }) },
  ),
  { minLength: 1, maxLength: 60, size: 'max' },
);

/** A property that holds if readers and owner keep to the model. */
export const readersKeepToModel = fc.asyncProperty(readerSteps, async (steps) => {
  const run = new ReaderModel();
  for (const step of steps) await run.carryOut(step);
  await run.end();
});

interface Handle {
  /** As the owner has it. */
  readonly given: RadixHandle;
  /** As another thread gets it. */
  readonly handle: RadixHandle;
  takenBack: boolean;
}

interface Reader {
  readonly reader: RadixReader;
  readonly of: Handle;
  closed: boolean;
  /** What it uses until it says otherwise; `undefined`: nothing. */
  use: Use | undefined;
}

interface Use {
  live: boolean;
}

interface Quiesce {
  readonly waitsFor: readonly Use[];
  resolved: boolean;
  readonly promise: Promise<void>;
}

class ReaderModel {
  readonly #domain = new RadixDomain({ shared: true, dirty: true });
  readonly #handles: Handle[] = [];
  readonly #readers: Reader[] = [];
  readonly #quiesces: Quiesce[] = [];
  readonly #mapped = new Map<number, number>();
  readonly #dirty = new Set<number>();
  #frames = 1;
  #hidden: (() => void) | undefined;

  async carryOut(step: ReaderStep): Promise<void> {
    this.#do(step);
    this.#check();
    if (this.#quiesces.some(({ resolved }) => !resolved)) await this.#turn();
  }

  /** All that waits is told; the domain can be used as a new one. */
  async end(): Promise<void> {
    this.#hidden?.();
    for (const reader of this.#readers) this.#close(reader);
    this.#check();
    await Promise.all(this.#quiesces.map(({ promise }) => promise));
    assert.equal(this.#domain.flush?.(), undefined);
    const { reader } = this.#open(this.#share());
    for (const [number, frame] of this.#mapped) assert.equal(reader.iovaToPhys(iovaOf(number)), frame * PAGE);
    reader.close();
  }

  #do(step: ReaderStep): void {
    switch (step.op) {
      case 'share':
        this.#share();
        break;
      case 'quiesce':
        this.#quiesce();
        break;
      case 'hide':
        this.#hide();
        break;
      case 'show':
        this.#hidden?.();
        this.#hidden = undefined;
        break;
      case 'track':
        this.#track();
        break;
      case 'map':
        this.#map(step.page);
        break;
      case 'unmap':
        this.#domain.unmap(iovaOf(step.page), PAGE);
        this.#mapped.delete(step.page);
        this.#dirty.delete(step.page);
        break;
      case 'unshare':
        this.#unshare(this.#handle(step.handle));
        break;
      case 'open':
        this.#tryOpen(this.#handle(step.handle));
        break;
      case 'forge':
        this.#forge(this.#handle(step.handle).handle, step.how);
        break;
      case 'close':
        this.#close(this.#reader(step.reader));
        break;
      case 'quiescent':
        this.#rest(this.#reader(step.reader));
        break;
      default:
        this.#use(step, this.#reader(step.reader));
    }
  }

  #rest(reader: Reader): void {
    reader.reader.quiescent();
    endUse(reader);
  }

  #use(step: PageStep, reader: Reader): void {
    if (reader.closed || reader.of.takenBack) {
      expectRefusal(() => use(reader.reader, step), 'ENODEV');
      endUse(reader);
    } else {
      const found = use(reader.reader, step);
      reader.use ??= { live: true };
      const frame = this.#hidden === undefined ? this.#mapped.get(step.page) : undefined;
      if (step.op !== 'mark') assert.equal(found, frame && frame * PAGE);
      else if (this.#domain.dirty?.tracking && this.#mapped.has(step.page)) this.#dirty.add(step.page);
    }
  }

  #share(): Handle {
    const given = this.#domain.share();
    const shared = { given, handle: structuredClone(given), takenBack: false };
    this.#handles.push(shared);
    return shared;
  }

  #handle(number: number): Handle {
    return this.#handles[number % this.#handles.length] ?? this.#share();
  }

  #reader(number: number): Reader {
    const reader = this.#readers[number % this.#readers.length];
    if (reader !== undefined) return reader;
    return this.#open(this.#share());
  }

  #tryOpen(of: Handle): void {
    if (of.takenBack) expectRefusal(() => RadixReader.from(of.handle), 'ENODEV');
    else this.#open(of);
  }

  #open(of: Handle): Reader {
    const opened = { reader: RadixReader.from(of.handle), of, closed: false, use: undefined };
    this.#readers.push(opened);
    return opened;
  }

  #close(reader: Reader): void {
    reader.reader.close();
    reader.closed = true;
    endUse(reader);
  }

  #unshare(of: Handle): void {
    this.#domain.unshare(of.given);
    of.takenBack = true;
    for (const reader of this.#readers) if (reader.of === of) endUse(reader);
  }

  #map(number: number): void {
    if (this.#mapped.has(number)) return;
    this.#frames += 1;
    this.#domain.map(iovaOf(number), this.#frames * PAGE, PAGE, 3);
    this.#mapped.set(number, this.#frames);
  }

  #quiesce(): void {
    const quiesce: Quiesce = {
      waitsFor: this.#uses,
      resolved: false,
      promise: this.#domain.quiesce().then(() => {
        quiesce.resolved = true;
      }),
    };
    this.#quiesces.push(quiesce);
  }

  #hide(): void {
    const busy = this.#uses.length > 0 || this.#hidden !== undefined;
    const show = this.#domain.hide?.(0n, 2n ** 64n - 1n);
    assert.equal(show === undefined, busy);
    this.#hidden ??= show;
  }

  #track(): void {
    const { dirty } = this.#domain;
    if (dirty?.tracking) {
      const found: number[] = [];
      dirty.readAndClear(0n, 2n ** 63n, false, (iova) => found.push(Number(iova) / PAGE / STRIDE));
      assert.deepEqual(found, [...this.#dirty].sort());
      this.#dirty.clear();
    }
    dirty?.setTracking(!dirty.tracking);
  }

  /** What does not fit together is refused, what is damaged leads nowhere for ever, and nobody notices. */
  #forge(handle: RadixHandle, how: number): void {
    const refused = REFUSED[how % REFUSED.length]!(handle);
    expectRefusal(() => RadixReader.from(refused), 'ERR_INVALID_ARG_TYPE');
    const damaged = DAMAGED[how % DAMAGED.length]!(handle);
    try {
      tryAll(RadixReader.from(damaged));
    } catch (error) {
      expectCode(error, 'EIO');
    }
  }

  get #uses(): readonly Use[] {
    return this.#readers.flatMap(({ use }) => use ?? []);
  }

  #check(): void {
    const waits = this.#domain.flush?.() !== undefined;
    // Whatever has changed under a range that is hidden from everybody, nobody uses it.
    assert.equal(waits, this.#uses.length > 0 && this.#hidden === undefined);
    for (const { resolved, waitsFor } of this.#quiesces) {
      if (resolved)
        assert.ok(!waitsFor.some(({ live }) => live), 'a reader uses what quiesce() said it does not');
    }
  }

  async #turn(): Promise<void> {
    await turn();
    this.#check();
  }
}

const iovaOf = (number: number) => number * STRIDE * PAGE;

function endUse(reader: Reader): void {
  if (reader.use !== undefined) reader.use.live = false;
  reader.use = undefined;
}

function use(reader: RadixReader, step: PageStep): unknown {
  const iova = iovaOf(step.page);
  if (step.op === 'mark') return reader.dirty.mark(iova, 1);
  return step.op === 'read' ? numberOf(reader.translate(BigInt(iova))?.physical) : reader.iovaToPhys(iova);
}

function numberOf(address: bigint | undefined): number | undefined {
  return address === undefined ? undefined : Number(address);
}

type Forgery = (handle: RadixHandle) => RadixHandle;

/** Handles none of which a domain gave. */
const REFUSED: readonly Forgery[] = [
  ...[0, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 53, 1e300].map((id) => (handle: RadixHandle) => ({
    ...handle,
    id,
  })),
  (handle) => ({ ...handle, id: handle.id + 1 }),
  ...[0, 3, 4095, 4097].map((bytes) => (handle: RadixHandle) => ({
    ...handle,
    tables: new SharedArrayBuffer(bytes),
  })),
  ...[0, 8, 17_000, 100_000].map((bytes) => (handle: RadixHandle) => ({
    ...handle,
    control: new SharedArrayBuffer(bytes),
  })),
  (handle) => ({ ...handle, ticket: new SharedArrayBuffer(0) }),
  (handle) => ({ ...handle, control: handle.tables, tables: handle.control }),
  ...[0n, -1n, 1n, 2n ** 40n, 2n ** 64n].map((pageSizeBitmap) => (handle: RadixHandle) => ({
    ...handle,
    pageSizeBitmap,
  })),
];

/** Handles that look right. They have a control of their own, or they would spoil what others read. */
const DAMAGED: readonly Forgery[] = [
  (handle) => ({ ...copyOf(handle), tables: tables(1, () => 0) }),
  (handle) => ({ ...copyOf(handle), tables: tables(1, () => -1) }),
  (handle) => ({ ...copyOf(handle), tables: tables(1, (at) => (at & 1 ? LEAF : 0)) }),
  // Each entry leads to its own table.
  (handle) => ({ ...copyOf(handle), tables: tables(1, (at) => (at & 1 ? TABLE : 0)) }),
  // Each entry of a table leads to the next one: four tables that map 2^48 bytes, page by page.
  (handle) => ({
    ...copyOf(handle),
    tables: tables(4, (at) => (at & 1 ? (at >> 10 < 3 ? TABLE : LEAF) : (at >> 10) + 1)),
  }),
  (handle) => damagedControl(handle, (records) => records.fill(Number.NaN)),
  (handle) => damagedControl(handle, (records) => records.fill(2 ** 40)),
  (handle) => damagedControl(handle, (records) => records.fill(-1)),
  (handle) => damagedControl(handle, (records) => records.fill(3)),
];

function copyOf(handle: RadixHandle): RadixHandle {
  const control = new SharedArrayBuffer(handle.control.byteLength);
  new Uint8Array(control).set(new Uint8Array(handle.control));
  new Int32Array(control)[TRACKING] = 1;
  const ticket = new SharedArrayBuffer(handle.ticket.byteLength);
  new Int32Array(ticket)[0] = handle.id;
  return { ...handle, control, ticket };
}

function damagedControl(handle: RadixHandle, damage: (records: Float64Array) => void): RadixHandle {
  const words = new Int32Array(handle.tables.slice(0));
  const copy = { ...copyOf(handle), tables: tables(words.length >> 10, (at) => words[at]!) };
  for (const number of [0, 1]) damage(recordOf(copy.control, number));
  return copy;
}

function tables(count: number, word: (at: number) => number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(count * PAGE);
  const words = new Int32Array(buffer);
  for (const at of words.keys()) words[at] = word(at);
  return buffer;
}

/** Uses a reader in all ways; it may see nothing, but it has to end. */
function tryAll(reader: RadixReader): void {
  try {
    for (const iova of [0n, 2n ** 30n, 2n ** 51n, 2n ** 64n - 1n]) {
      reader.iovaToPhys(iova);
      reader.translate(iova);
      reader.dirty.mark(iova, 2n ** 40n);
    }
  } finally {
    reader.close();
  }
}

function expectRefusal(call: () => unknown, code: string): void {
  try {
    call();
  } catch (error) {
    expectCode(error, code);
    return;
  }
  assert.fail(`no ${code}`);
}

function expectCode(error: unknown, code: string): void {
  assert.ok(error instanceof Error && 'code' in error, String(error));
  assert.equal(error.code, code, String(error));
}

/**
 * Carries operations out on the library and on the naive model.
 */
import assert from 'node:assert/strict';
import type { PinnedRange } from '../../src/access/pinned-range.js';
import { IommuError } from '../../src/errors.js';
import { compareBytes, compareMemory } from './compare.js';
import { expectedRequests } from './map-requests.js';
import { NaiveAccess } from './naive-access.js';
import { lowestBit, MAX, min, PAGE, type Range, Refusal } from './naive-ranges.js';
import type { Area } from './naive-table.js';
import { hex, type Op, resolvePlace, resolvePoint, resolveSpan, type Span } from './ops.js';
import type { AccessPair, DomainPair, Pairs, Stretch, TablePair } from './pairs.js';
import { REGIONS } from './setting.js';

/** What both sides answered: `OK …` or an errno. */
export interface Answers {
  readonly library: string;
  readonly model: string;
  /** What it was done to, if the operation does not say. */
  readonly aim?: string;
}

type OpOf<Kind extends Op['op']> = Extract<Op, { op: Kind }>;

const LARGEST_BUFFER = 0x10000n;
const LARGEST_DIRTY_RANGE = 0x100000n;
/** What is in a buffer before it is read into. */
const UNTOUCHED = 0xee;
const NOTHING: Answers = { library: 'nothing to do', model: 'nothing to do' };
const DONE: Answers = { library: 'done', model: 'done' };

/** Carries one operation out, on the library first. What is no answer (a plain `Error`) is thrown. */
export async function executeOp(pairs: Pairs, op: Op): Promise<Answers> {
  switch (op.op) {
    case 'map':
    case 'copy':
      return mapOrCopy(pairs, op);
    case 'unmap': {
      const { table, iova, length, aim } = aimAtTable(pairs, op.table, op.range);
      return both(
        async () =>
          hex(
            await either(
              pairs,
              () => table.library.unmapSync(iova, length),
              () => table.library.unmap(iova, length),
            ),
          ),
        () => hex(table.model.unmap(iova, length)),
        aim,
      );
    }
    case 'unmapAll': {
      const { library, model } = pairs.tables[op.table]!;
      return both(
        async () =>
          hex(
            await either(
              pairs,
              () => library.unmapAllSync(),
              () => library.unmapAll(),
            ),
          ),
        () => hex(model.unmapAll()),
      );
    }
    case 'addDomain':
      return addDomain(pairs, op);
    case 'removeDomain':
      return removeDomain(pairs, op);
    case 'poison':
      return poison(pairs, op);
    case 'reserve':
    case 'unreserve':
    case 'regions':
    case 'allow':
    case 'iovaRanges':
    case 'largePages':
      return changeSpace(pairs, op);
    case 'cut':
      return cut(pairs, op);
    case 'attach':
    case 'replace':
    case 'detach':
      return moveAccess(pairs, op);
    case 'ignore': {
      const pair = pairs.accesses[op.access]!;
      pair.ignores = op.notices;
      pair.model.ignores = op.notices;
      return DONE;
    }
    case 'pin':
      return pin(pairs, op);
    case 'unpin':
      return unpin(pairs, op);
    case 'read':
      return read(pairs, op);
    case 'write':
      return write(pairs, op);
    case 'hold':
      return hold(pairs, op);
    case 'release':
      return release(pairs, op);
    case 'trackDirty':
    case 'markDirty':
    case 'readDirty':
      return dirty(pairs, op);
    case 'changeMemory':
      return changeMemory(pairs, op);
    case 'exit':
      pairs.memory.exit();
      pairs.world.exit();
      return DONE;
  }
}

async function mapOrCopy(pairs: Pairs, op: OpOf<'map'> | OpOf<'copy'>): Promise<Answers> {
  const { library, model } = pairs.tables[op.table]!;
  const iova = resolvePlace(model, op.iova);
  const { prot } = op;
  const before = new Set(model.areas);
  let answers: Answers;
  if (op.op === 'map') {
    const uptr = BigInt(op.uptr);
    const length = BigInt(op.length);
    const accounting = op.charged;
    const request = { iova, uptr, length, prot, accounting };
    answers = await both(
      async () => hex(pairs.sync ? library.mapSync(request) : await library.map(request)),
      () => hex(model.map(iova, uptr, length, prot, accounting)),
      iova === undefined ? undefined : hex(iova),
    );
  } else {
    const { table: from, iova: srcIova, length, aim } = aimAtTable(pairs, op.from, op.source);
    const request = { from: from.library, srcIova, iova, length, prot };
    answers = await both(
      async () => hex(pairs.sync ? library.copySync(request) : await library.copy(request)),
      () => hex(model.copy(from.model, srcIova, iova, length, prot)),
      `${aim} to ${iova === undefined ? 'anywhere' : hex(iova)}`,
    );
  }
  const fresh = model.areas.filter((area) => !before.has(area));
  for (const domain of pairs.domains) if (domain.table?.model === model) checkRequests(domain, fresh);
  return answers;
}

/** A domain that was filled with areas, if any, got the requests that it should have got. */
function checkRequests({ requests, table }: DomainPair, areas: readonly Area[]): void {
  if (requests === undefined) return;
  if (areas.length > 0) {
    const largePages = table?.model.largePages === true;
    const expected = areas.flatMap((area) => expectedRequests(area, largePages));
    assert.deepEqual(requests, expected, 'requests to a domain');
  }
  requests.length = 0;
}

async function addDomain(pairs: Pairs, op: OpOf<'addDomain'>): Promise<Answers> {
  const table = pairs.tables[op.table]!;
  const usable = (pair: DomainPair) => pair.table === undefined || pair.table === table;
  const pair = nextThat(pairs.domains, op.domain, usable);
  if (!usable(pair)) return NOTHING;
  const answers = await both(
    () => table.library.addDomain(pair.library),
    () => table.model.addDomain(pair.model),
    `domain ${pairs.domains.indexOf(pair)}`,
  );
  if (answers.model === 'OK') pair.table = table;
  checkRequests(pair, answers.model === 'OK' ? table.model.areas : []);
  return answers;
}

async function removeDomain(pairs: Pairs, op: OpOf<'removeDomain'>): Promise<Answers> {
  const pair = nextThat(pairs.domains, op.domain, isAttached);
  const { table } = pair;
  if (table === undefined) return NOTHING;
  pair.table = undefined;
  return both(
    () => table.library.removeDomain(pair.library),
    () => table.model.removeDomain(pair.model),
    `domain ${pairs.domains.indexOf(pair)}`,
  );
}

function isAttached({ table }: DomainPair): boolean {
  return table !== undefined;
}

function poison(pairs: Pairs, { domain, at }: OpOf<'poison'>): Answers {
  const pair = nextThat(pairs.domains, domain, (candidate) => candidate.poison !== undefined);
  const table = pair.table ?? pairs.tables[0]!;
  const iova = at === null ? undefined : resolvePoint(table.model, at);
  pair.model.poison = iova;
  pair.poison!.at = iova;
  return {
    ...DONE,
    aim: `domain ${pairs.domains.indexOf(pair)}, ${iova === undefined ? 'none' : hex(iova)}`,
  };
}

type SpaceOp = OpOf<'reserve' | 'unreserve' | 'regions' | 'allow' | 'iovaRanges' | 'largePages'>;

/** Operations on a table without areas or domains. */
function changeSpace(pairs: Pairs, op: SpaceOp): Promise<Answers> {
  const { library, model } = pairs.tables[op.table]!;
  switch (op.op) {
    case 'reserve': {
      const start = BigInt(op.start);
      const last = min(start + BigInt(op.length) - 1n, MAX);
      const owner = op.owner === null ? null : pairs.owners[op.owner]!;
      return both(
        () => library.reserveIova({ start, last, owner }),
        () => model.reserve(start, last, owner),
      );
    }
    case 'unreserve': {
      const owner = op.owner === null ? null : pairs.owners[op.owner]!;
      return both(
        () => library.removeReservedIova(owner),
        () => model.removeReserved(owner),
      );
    }
    case 'regions': {
      const device = pairs.devices[op.device]!;
      const regions = op.regions.map(({ start, length, type }) => ({
        start: BigInt(start),
        length: min(BigInt(length), MAX - BigInt(start) + 1n),
        type,
      }));
      return both(
        async () => String((await library.enforceReservedRegions(device, regions)).swMsiStart),
        () => String(model.enforceRegions(device, regions)),
      );
    }
    case 'allow': {
      const ranges = op.ranges.map(({ start, last }) => ({ start: BigInt(start), last: BigInt(last) }));
      return both(
        () => library.setAllowedIova(ranges),
        () => model.setAllowed(ranges),
      );
    }
    case 'iovaRanges': {
      const words = (ranges: readonly Range[], alignment: number | bigint) =>
        `${ranges.map(({ start, last }) => `${hex(start)}-${hex(last)}`)} by ${alignment}`;
      return both(
        async () => {
          const { ranges, alignment } = await library.iovaRanges();
          return words(ranges, alignment);
        },
        () => words(model.ranges(), model.alignment),
      );
    }
    case 'largePages':
      return both(
        () => library.setLargePages(op.enable),
        () => model.setLargePages(op.enable),
      );
  }
}

function cut(pairs: Pairs, op: OpOf<'cut'>): Promise<Answers> {
  const { library, model } = tableWithAreas(pairs, op.table);
  const addresses = op.addresses.map((point) => resolvePoint(model, point));
  return both(
    () => library.cutIova(addresses),
    () => model.cut(addresses),
    `table ${model.world.tables.indexOf(model)}, ${addresses.map(hex).join()}`,
  );
}

function moveAccess(pairs: Pairs, op: OpOf<'attach' | 'replace' | 'detach'>): Promise<Answers> {
  const { library, model } = pairs.accesses[op.access]!;
  if (op.op === 'detach') {
    return both(
      () => library.detach(),
      () => model.detach(),
    );
  }
  const table = pairs.tables[op.table]!;
  return both(
    () => library[op.op](table.library),
    () => model[op.op](table.model),
  );
}

function pin(pairs: Pairs, op: OpOf<'pin'>): Promise<Answers> {
  const { pair, iova, length, aim } = aimAtAccess(pairs, op.access, op.range, true);
  return both(
    async () => {
      const options = { write: op.write };
      const frames = pairs.sync
        ? pair.library.pinSync(iova, length, options)
        : await pair.library.pin(iova, length, options);
      pair.pins.push({ iova, length });
      const numbers = Array.from({ length: frames.frames }, (_, at) => BigInt(frames.at(at)));
      return numbers.join();
    },
    () =>
      NaiveAccess.pages(pair.model.pin(iova, length, op.write))
        .map(({ frame }) => frame)
        .join(),
    aim,
  );
}

async function unpin(pairs: Pairs, op: OpOf<'unpin'>): Promise<Answers> {
  const pair = nextThat(pairs.accesses, op.access, ({ model }) => model.pins.length > 0);
  const { library, model, pins } = pair;
  const number = op.pin % model.pins.length;
  const pinned = model.pins[number];
  if (pinned === undefined) return NOTHING;
  return both(
    async () => {
      const [range] = pins.splice(number, 1);
      if (pairs.sync) library.unpinSync(range!.iova, range!.length);
      else await library.unpin(range!.iova, range!.length);
    },
    () => model.unpin(pinned),
    `access ${pairs.accesses.indexOf(pair)}, ${stretch(pinned)}`,
  );
}

async function read(pairs: Pairs, op: OpOf<'read'>): Promise<Answers> {
  const { pair, iova, length, aim } = aimAtAccess(pairs, op.access, op.range, false);
  const size = Number(min(length, LARGEST_BUFFER));
  const fromLibrary = new Uint8Array(size).fill(UNTOUCHED);
  const fromModel = new Uint8Array(size).fill(UNTOUCHED);
  const answers = await both(
    async () => {
      const options = { slow: op.slow };
      if (pairs.sync) pair.library.readSync(iova, fromLibrary, options);
      else await pair.library.read(iova, fromLibrary, options);
    },
    () => pair.model.rw(iova, fromModel, false, op.slow),
    aim,
  );
  compareBytes(fromLibrary, fromModel, 'what was read');
  return answers;
}

async function write(pairs: Pairs, op: OpOf<'write'>): Promise<Answers> {
  const { pair, iova, length, aim } = aimAtAccess(pairs, op.access, op.range, false);
  const size = Number(min(length, LARGEST_BUFFER));
  const bytes = Uint8Array.from({ length: size }, (_, at) => op.seed + at + (at >> 8));
  const answers = await both(
    async () => {
      const options = { slow: op.slow };
      if (pairs.sync) pair.library.writeSync(iova, bytes, options);
      else await pair.library.write(iova, bytes, options);
    },
    () => pair.model.rw(iova, bytes, true, op.slow),
    aim,
  );
  compareMemory(pairs);
  return answers;
}

function hold(pairs: Pairs, op: OpOf<'hold'>): Promise<Answers> {
  const { table, iova, length, aim } = aimAtTable(pairs, op.table, op.range);
  const model = new NaiveAccess(pairs.world, true);
  model.leaves = true;
  let held: PinnedRange | undefined;
  return both(
    async () => {
      held = await table.library.access(iova, length, { write: op.write });
      return pagesOf(held);
    },
    () => {
      const pages = model.hold(table.model, iova, length, op.write);
      if (held !== undefined) pairs.holds.push({ library: held, model });
      return pages;
    },
    aim,
  );
}

/** How many pages are held. Without live views that is all there is to know. */
function pagesOf(held: PinnedRange): number {
  try {
    return held.pages.length;
  } catch (error) {
    assert.ok(error instanceof IommuError && error.code === 'EOPNOTSUPP');
    return Math.ceil(Number(held.length) / Number(PAGE));
  }
}

async function release(pairs: Pairs, op: OpOf<'release'>): Promise<Answers> {
  const [held] = pairs.holds.splice(op.hold % pairs.holds.length, 1);
  if (held === undefined) return NOTHING;
  return both(
    () => held.library.release(),
    () => held.model.release(),
  );
}

async function dirty(pairs: Pairs, op: OpOf<'trackDirty' | 'markDirty' | 'readDirty'>): Promise<Answers> {
  const tracks = (pair: DomainPair) => isAttached(pair) && pair.model.dirty !== undefined;
  const attached = nextThat(pairs.domains, op.domain, isAttached);
  const { library, model, table } = nextThat(pairs.domains, pairs.domains.indexOf(attached), tracks);
  if (table === undefined) return NOTHING;
  const aim = `domain ${pairs.domains.findIndex((pair) => pair.model === model)}`;
  if (op.op === 'trackDirty') {
    return both(
      () => table.library.setDirtyTracking(library, op.enable),
      () => table.model.setDirtyTracking(model, op.enable),
      aim,
    );
  }
  if (op.op === 'markDirty') {
    if (library.dirty === undefined || model.dirty === undefined) return NOTHING;
    const ioPage = lowestBit(model.pageSizes);
    const at = resolvePoint(table.model, op.at);
    const page = at - (at % ioPage);
    library.dirty.mark(page, ioPage);
    if (model.dirty.tracking) table.model.markDirty(model, page);
    return { ...DONE, aim: `${aim}, ${hex(page)}` };
  }
  const range = resolveSpan(table.model, op.range);
  const { iova } = range;
  const length = min(range.length, LARGEST_DIRTY_RANGE);
  const pageSize = BigInt(op.pageSize);
  const bitmap = new Uint8Array(Number(LARGEST_DIRTY_RANGE) / 0x200 / 8);
  return both(
    async () => {
      await table.library.readDirty({ domain: library, iova, length, pageSize, bitmap, keep: op.keep });
      return `bits ${setBits(bitmap)}`;
    },
    () => {
      const bits = [...table.model.readDirty(model, iova, length, pageSize, op.keep)].map(Number);
      return `bits ${bits.sort((a, b) => a - b)}`;
    },
    `${aim}, ${stretch({ iova, length })}`,
  );
}

function changeMemory({ memory, world }: Pairs, op: OpOf<'changeMemory'>): Answers {
  const { uptr, pages } = REGIONS[op.region]!;
  for (let at = op.page % pages; at < Math.min((op.page % pages) + op.pages, pages); at++) {
    const page = uptr / PAGE + BigInt(at);
    if (!world.process.accessible(page, false)) continue;
    world.process.change(page, op.to);
    if (op.to === 'gone') memory.munmap(page * PAGE, PAGE);
    else memory.protect(page * PAGE, PAGE, op.to === 'writable');
  }
  return DONE;
}

/** The table that an operation on a range is about, and the range. */
function aimAtTable(pairs: Pairs, number: number, span: Span): Stretch & { table: TablePair; aim: string } {
  const table = 'at' in span ? pairs.tables[number]! : tableWithAreas(pairs, number);
  const range = resolveSpan(table.model, span);
  return { table, ...range, aim: `table ${pairs.tables.indexOf(table)}, ${stretch(range)}` };
}

function tableWithAreas(pairs: Pairs, number: number): TablePair {
  return nextThat(pairs.tables, number, ({ model }) => model.areas.length > 0);
}

/** The access that an operation on a range is about, and the range. */
function aimAtAccess(
  { accesses }: Pairs,
  number: number,
  span: Span,
  pins: boolean,
): Stretch & { pair: AccessPair; aim: string } {
  const useful = ({ model }: AccessPair) =>
    model.table !== undefined && model.table.areas.length > 0 && (model.needsPin || !pins);
  const pair = 'at' in span ? accesses[number]! : nextThat(accesses, number, useful);
  const range = resolveSpan(pair.model.table, span);
  return { pair, ...range, aim: `access ${accesses.indexOf(pair)}, ${stretch(range)}` };
}

/** The first of `list`, from number `from` around, with which something can be done; else number `from`. */
function nextThat<T>(list: readonly T[], from: number, useful: (item: T) => boolean): T {
  const around = [...list.slice(from), ...list.slice(0, from)];
  return around.find(useful) ?? list[from]!;
}

function stretch({ iova, length }: Stretch): string {
  return `${hex(iova)} + ${hex(length)}`;
}

/** The synchronous call, or the other one where that says that it would have to wait. */
async function either<T>({ sync }: Pairs, now: () => T, later: () => Promise<T>): Promise<T> {
  if (!sync) return await later();
  try {
    return now();
  } catch (error) {
    if (error instanceof IommuError && error.code === 'EAGAIN') return await later();
    throw error;
  }
}

/** The answers of both sides; what neither an errno nor a result explains is thrown. */
async function both(library: () => Promise<unknown>, model: () => unknown, aim?: string): Promise<Answers> {
  const fromLibrary = await libraryAnswer(library);
  const answers = { library: fromLibrary, model: modelAnswer(model) };
  return aim === undefined ? answers : { ...answers, aim };
}

async function libraryAnswer(call: () => Promise<unknown>): Promise<string> {
  try {
    return success(await call());
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
    return failure(error.code, error.unmapped);
  }
}

function modelAnswer(call: () => unknown): string {
  try {
    return success(call());
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return failure(error.code, error.bytes);
  }
}

function success(result: unknown): string {
  return result === undefined ? 'OK' : `OK ${result}`;
}

function failure(code: string, unmapped: bigint | undefined): string {
  return unmapped === undefined ? code : `${code} after ${hex(unmapped)} bytes`;
}

function setBits(bitmap: Uint8Array): number[] {
  const bits: number[] = [];
  for (let bit = 0; bit < bitmap.length * 8; bit++) if (bitmap[bit >> 3]! & (1 << (bit & 7))) bits.push(bit);
  return bits;
}

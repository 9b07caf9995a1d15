/**
 * A second, deliberately naive implementation of the io page table, which the library is checked against.
 *
 * Everything is an array that is looked through, and everything that can be derived is derived anew each time:
 * which pages are pinned is recomputed from the definition (covered by an area of a table with a domain, or by a
 * live pin), never counted up and down. A call first decides its answer without touching anything and changes
 * the arrays only when it is sure to succeed, so there is nothing to undo.
 *
 * What kernels do differently it reads in the library's row for the profile; what that means it does its own way.
 */
import type { Rules } from '../../src/rules.js';
import type { NaiveAccess } from './naive-access.js';
import { chooseNaively } from './naive-choice.js';
import { NaiveDmaBuf, type NaiveFile, type NaivePage } from './naive-memory.js';
import type { NaiveProcess } from './naive-process.js';
import { holes, lastOf, lowestBit, MAX, max, meets, min, PAGE, type Range, Refusal } from './naive-ranges.js';

/** Permissions of a mapping. */
export type Prot = '' | 'r' | 'w' | 'rw';

/** The counters of locked memory: the user's, the process's, or none. */
export type Charged = 'user' | 'mm' | 'none';

/** Who may be charged for locked pages: a process, its user, and how much it may lock. */
export interface NaiveOwner {
  readonly user: object;
  readonly mm: object;
  /** The most (backing, page) pairs that may be charged; `undefined`: no limit. */
  readonly limitPages: bigint | undefined;
}

/** Where pages come from: memory of a process, a file, or a dma-buf as it was after so many invalidations. */
export type Source =
  | { readonly kind: 'process'; readonly process: NaiveProcess }
  | { readonly kind: 'file'; readonly file: NaiveFile }
  | { readonly kind: 'dma-buf'; readonly buffer: NaiveDmaBuf; readonly invalidations: number };

/** The pages that one `map` made available; copies and cuts share it. */
export interface Backing {
  readonly source: Source;
  /** User address of page 0, or its offset in the file; page aligned. */
  readonly start: bigint;
  /** Pinned for writing: the map that made it asked for it. */
  readonly writable: boolean;
  /** Which counter of locked memory its pages count in. */
  readonly charged: Charged;
  /** Whose counter. */
  owner: NaiveOwner;
  /** Pages that are pinned and that the source has other ones for by now. */
  readonly held: Map<bigint, NaivePage>;
}

/** A backing of which nothing is pinned. */
export function newBacking(
  source: Source,
  start: bigint,
  of: { readonly writable: boolean; readonly charged: Charged; readonly owner: NaiveOwner },
): Backing {
  return { source, start, ...of, held: new Map() };
}

/** A page of a backing: the pinned one, else what the source has there now. Of a dma-buf there is none. */
export function pageOf(backing: Backing, index: bigint): NaivePage | undefined {
  const held = backing.held.get(index);
  if (held !== undefined) return held;
  const { source, start } = backing;
  if (source.kind === 'dma-buf') return undefined;
  const page = start / PAGE + index;
  return source.kind === 'file' ? source.file.page(page) : source.process.pageAt(page);
}

/** The frame of a page of a backing; `undefined` if there is none, or a dma-buf was taken back. */
export function frameOf(backing: Backing, index: bigint): bigint | undefined {
  const { source, start } = backing;
  if (source.kind !== 'dma-buf') return pageOf(backing, index)?.frame;
  if (source.invalidations !== source.buffer.invalidations) return undefined;
  return source.buffer.frame + start / PAGE + index;
}

/** One mapping. */
export interface Area extends Range {
  readonly backing: Backing;
  /** Position of the first byte in the backing. */
  readonly startByte: bigint;
  readonly prot: Prot;
  /** An unmap has told the accesses to let go; it never becomes accessible to the CPU again. */
  closed: boolean;
  /** The domains that it was filled into, and whether large pages were on then. */
  readonly fills: Map<NaiveDomain, boolean>;
}

/** Page indexes of a backing that something needs pinned. */
export interface Piece {
  readonly backing: Backing;
  readonly first: bigint;
  readonly last: bigint;
}

/** Bytes of a backing that are to be mapped. */
interface Element {
  readonly backing: Backing;
  readonly startByte: bigint;
  readonly length: bigint;
}

/** Who may be named as the owner of a reservation. */
export type Owner = object | null;

/** A reserved range. */
export interface Reservation extends Range {
  readonly owner: Owner;
}

/** A reserved region of a device. */
export interface DeviceRegion {
  readonly start: bigint;
  readonly length: bigint;
  readonly type: 'direct' | 'direct-relaxable' | 'reserved' | 'msi' | 'sw-msi';
}

/** An IOMMU domain: only what is not derived from the areas. */
export interface NaiveDomain {
  readonly pageSizes: bigint;
  readonly aperture: Range;
  /** An IOVA at which the domain refuses to map anything (ENOENT). */
  poison: bigint | undefined;
  /**
   * Whether it keeps what is mapped in entries of its page sizes, as large as addresses and length allow; a dirty mark is
   * that of an entry then. Otherwise marks are those of its smallest pages.
   */
  readonly entries: boolean;
  /** Whether it is of devices without an IOMMU. */
  readonly noIommu: boolean;
  /** Dirty tracking, with the first byte of each dirty page or entry: `undefined` for a domain without it. */
  readonly dirty: { tracking: boolean; readonly pages: Set<bigint> } | undefined;
}

/** A new domain. */
export function naiveDomain(
  pageSizes: bigint,
  aperture: Range,
  dirty = false,
  { entries = false, noIommu = false } = {},
): NaiveDomain {
  return {
    pageSizes,
    aperture,
    poison: undefined,
    entries,
    noIommu,
    dirty: dirty ? { tracking: false, pages: new Set() } : undefined,
  };
}

/** Tables and accesses that work on the memory of one process. */
export class NaiveWorld {
  readonly process: NaiveProcess;
  readonly tables: NaiveTable[] = [];
  readonly accesses: NaiveAccess[] = [];
  /** What the accesses were told, oldest first. */
  readonly notices: { readonly access: NaiveAccess; readonly iova: bigint; readonly length: bigint }[] = [];

  /** Whom maps charge that do not say whom. */
  readonly owner: NaiveOwner;
  #lockedAtExit: bigint | undefined;

  constructor(process: NaiveProcess) {
    this.process = process;
    this.owner = { user: {}, mm: {}, limitPages: process.limitPages };
  }

  /** Everything that has to be pinned now, piece by piece, with repetitions. */
  pieces(): Piece[] {
    const filled = this.tables.filter((table) => table.domains.length > 0).flatMap((table) => table.areas);
    const held = this.accesses.flatMap((access) => access.pins).flatMap((pin) => pin.pieces);
    return [...filled.map(pieceOf), ...held];
  }

  /** The pinned page indexes of every backing, if `more` had to be pinned as well. Those of dma-bufs never are. */
  pinned(more: readonly Piece[] = []): Map<Backing, Set<bigint>> {
    const pinned = new Map<Backing, Set<bigint>>();
    for (const { backing, first, last } of [...this.pieces(), ...more]) {
      if (backing.source.kind === 'dma-buf') continue;
      const indexes = pinned.get(backing) ?? new Set();
      for (let index = first; index <= last; index++) indexes.add(index);
      pinned.set(backing, indexes);
    }
    return pinned;
  }

  /** How many backings pin each page; pages that none pins are absent. */
  pins(): Map<NaivePage, number> {
    const pins = new Map<NaivePage, number>();
    for (const [backing, indexes] of this.pinned()) {
      for (const index of indexes) {
        const page = pageOf(backing, index)!;
        pins.set(page, (pins.get(page) ?? 0) + 1);
      }
    }
    return pins;
  }

  /** A file is cut or grows: what is pinned stays what it is. */
  resize(file: NaiveFile, size: bigint): void {
    for (const [backing, indexes] of this.pinned()) {
      for (const index of indexes) backing.held.set(index, pageOf(backing, index)!);
    }
    file.resize(size);
  }

  /** To be called after each operation: forgets pages that are not pinned any more. */
  settle(): void {
    const held = new Set(this.#backings().filter((backing) => backing.held.size > 0));
    if (held.size === 0) return;
    const pinned = this.pinned();
    for (const backing of held) {
      for (const index of [...backing.held.keys()]) {
        if (pinned.get(backing)?.has(index) !== true) backing.held.delete(index);
      }
    }
  }

  #backings(): Backing[] {
    const shown = this.tables.flatMap(({ areas }) => areas).map(({ backing }) => backing);
    const held = this.accesses.flatMap((access) => access.pins).flatMap((pin) => pin.pieces);
    return [...new Set([...shown, ...held.map(({ backing }) => backing)])];
  }

  /** The process ends. Its own counter of locked memory ends with it: nothing is given back to it any more. */
  exit(): void {
    this.#lockedAtExit = this.locked('mm');
    this.process.exited = true;
  }

  /** Number of (backing, page) pairs in a counter of the process, if `more` had to be pinned as well. */
  locked(counter: Charged, more: readonly Piece[] = []): bigint {
    if (counter === 'none') return 0n;
    if (counter === 'mm' && this.#lockedAtExit !== undefined) return this.#lockedAtExit;
    return this.#lockedIn(this.owner[counter], more);
  }

  #lockedIn(counter: object, more: readonly Piece[]): bigint {
    let pages = 0n;
    for (const [backing, indexes] of this.pinned(more)) {
      if (counterOf(backing) === counter) pages += BigInt(indexes.size);
    }
    return pages;
  }

  /** Whether `piece` could be pinned on top of `before`. Pages pinned already need nothing. */
  requireMemory(piece: Piece, before: readonly Piece[]): void {
    const { source, start, writable } = piece.backing;
    if (source.kind === 'dma-buf') return;
    const pinned = this.pinned(before).get(piece.backing) ?? new Set();
    const base = start / PAGE;
    for (let index = piece.first; index <= piece.last; index++) {
      if (pinned.has(index)) continue;
      const last = lastUnpinned(pinned, index, piece.last);
      const error =
        source.kind === 'file'
          ? source.file.pinError(base + index, base + last)
          : source.process.pinError(base + index, base + last, writable);
      if (error !== undefined) throw new Refusal(error);
      index = last;
    }
  }

  /** ENOMEM if the last of `pieces`, on top of the others, exceeds the limit on locked memory. */
  requireAllowance(pieces: readonly Piece[]): void {
    const { backing } = pieces.at(-1)!;
    const { limitPages } = backing.owner;
    const counter = counterOf(backing);
    if (limitPages === undefined || counter === undefined) return;
    if (counter === this.owner.mm && this.#lockedAtExit !== undefined) {
      if (this.#lockedAtExit > limitPages) throw new Refusal('ENOMEM');
      return;
    }
    const [before, after] = [this.#lockedIn(counter, pieces.slice(0, -1)), this.#lockedIn(counter, pieces)];
    if (after > before && after > limitPages) throw new Refusal('ENOMEM');
  }

  /** All file backings of all tables belong to `owner` from now on. */
  changeOwner(owner: NaiveOwner): void {
    const shown = this.tables.flatMap(({ areas }) => areas).map(({ backing }) => backing);
    if (shown.some(({ source }) => source.kind !== 'file')) throw new Refusal('EINVAL');
    const pinned = this.pinned();
    const wanted = new Map<object, bigint>();
    const moving = [...new Set(shown)].filter(({ charged, owner: before }) => {
      if (charged === 'none') return false;
      return before.mm !== owner.mm || (charged === 'user' && before.user !== owner.user);
    });
    for (const backing of moving) {
      if (backing.charged === 'none') continue;
      const counter = owner[backing.charged];
      wanted.set(counter, (wanted.get(counter) ?? 0n) + BigInt(pinned.get(backing)?.size ?? 0));
    }
    for (const [counter, pages] of wanted) {
      const { limitPages } = owner;
      if (pages === 0n || limitPages === undefined) continue;
      if (this.#lockedIn(counter, []) + pages > limitPages) throw new Refusal('ENOMEM');
    }
    for (const backing of shown) backing.owner = owner;
  }
}

/** The counter that the pages of a backing count in. */
function counterOf({ charged, owner }: Backing): object | undefined {
  return charged === 'none' ? undefined : owner[charged];
}

/** The last index of the unpinned run that `index` is in, at most `last`. */
function lastUnpinned(pinned: ReadonlySet<bigint>, index: bigint, last: bigint): bigint {
  let nearest = last;
  for (const candidate of pinned) if (candidate > index && candidate <= nearest) nearest = candidate - 1n;
  return nearest;
}

/** Position in the backing of the byte at `iova` of an area. */
export function byteAt(area: Area, iova: bigint): bigint {
  return area.startByte + (iova - area.start);
}

/** The page indexes of an area. */
export function pieceOf(area: Area): Piece {
  return { backing: area.backing, first: area.startByte / PAGE, last: byteAt(area, area.last) / PAGE };
}

/** One io page table. */
export class NaiveTable {
  readonly world: NaiveWorld;
  readonly rules: Rules;
  /** Sorted by IOVA. */
  areas: Area[] = [];
  reserved: Reservation[] = [];
  allowed: readonly Range[] = [];
  domains: NaiveDomain[] = [];
  /** By list id; freed ids are `undefined`. */
  readonly accesses: (NaiveAccess | undefined)[] = [];
  largePages = true;

  constructor(world: NaiveWorld, rules: Rules) {
    this.world = world;
    this.rules = rules;
    world.tables.push(this);
  }

  /** The alignment of everything in the table. */
  get alignment(): bigint {
    let alignment = this.largePages ? 1n : PAGE;
    for (const domain of this.domains) alignment = max(alignment, lowestBit(domain.pageSizes));
    for (const access of this.accesses)
      if (access !== undefined) alignment = max(alignment, access.alignmentIn(this));
    return alignment;
  }

  /** Number of pins in an area: one per pin item that goes through it; of those that lock it only, if `locks`. */
  users(area: Area, locks = false): number {
    let users = 0;
    for (const access of this.world.accesses) {
      if (locks && !access.locks) continue;
      for (const pin of access.pins) users += pin.pieces.filter((piece) => piece.area === area).length;
    }
    return users;
  }

  /** Maps user memory at `iova`, or at an IOVA of the table's choice. Gives the IOVA. */
  map(iova: bigint | undefined, uptr: bigint, length: bigint, prot: Prot, charged: Charged = 'user'): bigint {
    const badLength = length > MAX - PAGE || length === 0n;
    if (badLength && this.rules.userRangeChecks === 'length-first') throw new Refusal('EINVAL');
    if (uptr + length > MAX) throw new Refusal('EOVERFLOW');
    if (badLength) throw new Refusal('EINVAL');
    const { process, owner } = this.world;
    return this.#mapSource(iova, { kind: 'process', process }, { start: uptr, length, prot, charged, owner });
  }

  /** Maps `length` bytes of a file from byte `start` on. Gives the IOVA. */
  mapFile(
    iova: bigint | undefined,
    file: NaiveFile | NaiveDmaBuf | undefined,
    request: {
      readonly start: bigint;
      readonly length: bigint;
      readonly prot: Prot;
      readonly charged: Charged;
    },
  ): bigint {
    const { start, length } = request;
    lastOf(start, length);
    const { owner } = this.world;
    if (file instanceof NaiveDmaBuf) {
      file.requireRange(start, length);
      const { invalidations } = file;
      const source = { kind: 'dma-buf', buffer: file, invalidations } as const;
      return this.#mapSource(iova, source, { ...request, owner, charged: 'none' });
    }
    if (file === undefined) throw new Refusal('EBADF');
    if (length > MAX - PAGE) throw new Refusal('EINVAL');
    return this.#mapSource(iova, { kind: 'file', file }, { ...request, owner });
  }

  #mapSource(
    iova: bigint | undefined,
    source: Source,
    request: {
      readonly start: bigint;
      readonly length: bigint;
      readonly prot: Prot;
      readonly charged: Charged;
      readonly owner: NaiveOwner;
    },
  ): bigint {
    const { start, length, prot, charged, owner } = request;
    const offset = start % PAGE;
    const backing = newBacking(source, start - offset, { writable: prot.includes('w'), charged, owner });
    return this.#place(iova, [{ backing, startByte: offset, length }], length, prot);
  }

  /** Maps what `from` has mapped at `source` here as well. Gives the IOVA. */
  copy(from: NaiveTable, source: bigint, iova: bigint | undefined, length: bigint, prot: Prot): bigint {
    const last = lastOf(source, length);
    const elements: Element[] = [];
    if (this.rules.copyTakes === 'one-area') {
      const area = from.areas.find((candidate) => candidate.start === source && candidate.last === last);
      if (area === undefined) throw new Refusal('ENOENT');
      elements.push({ backing: area.backing, startByte: area.startByte, length });
    } else {
      const done = from.walk(source, last, (area, first, until) => {
        elements.push({ backing: area.backing, startByte: byteAt(area, first), length: until - first + 1n });
      });
      if (!done) throw new Refusal('ENOENT');
    }
    return this.#place(iova, elements, length, prot);
  }

  #place(iova: bigint | undefined, elements: readonly Element[], length: bigint, prot: Prot): bigint {
    const start =
      this.rules.mappingChecks === 'length-first'
        ? this.#checkLengthFirst(iova, elements, length, prot)
        : this.#checkPermissionFirst(iova, elements, length, prot);
    const areas: Area[] = [];
    let at = start;
    for (const { backing, startByte, length: bytes } of elements) {
      areas.push({
        start: at,
        last: at + bytes - 1n,
        backing,
        startByte,
        prot,
        closed: false,
        fills: new Map(),
      });
      at += bytes;
    }
    if (this.domains.length > 0) this.#requireFill(areas, this.domains);
    this.#put(areas);
    return start;
  }

  #checkLengthFirst(
    iova: bigint | undefined,
    elements: readonly Element[],
    length: bigint,
    prot: Prot,
  ): bigint {
    const alignment = this.alignment;
    if (length === 0n || length % alignment !== 0n) throw new Refusal('EINVAL');
    let start = iova;
    if (start === undefined) {
      start = this.#choose(elements[0]!, length);
    } else {
      if (start % alignment !== 0n) throw new Refusal('EINVAL');
      const range = { start, last: lastOf(start, length) };
      this.#requireFree(range);
    }
    for (const { backing, startByte } of elements) {
      if (prot.includes('w') && !backing.writable) throw new Refusal('EPERM');
      if ((startByte % PAGE) % alignment !== 0n) throw new Refusal('EINVAL');
    }
    return start;
  }

  #checkPermissionFirst(
    iova: bigint | undefined,
    elements: readonly Element[],
    length: bigint,
    prot: Prot,
  ): bigint {
    const alignment = this.alignment;
    if (elements.some(({ backing }) => prot.includes('w') && !backing.writable)) throw new Refusal('EPERM');
    const start = iova ?? this.#choose(elements[0]!, length);
    const range = { start, last: lastOf(start, length) };
    if (start % alignment !== 0n || length % alignment !== 0n) throw new Refusal('EINVAL');
    if (elements.some(({ startByte }) => (startByte % PAGE) % alignment !== 0n)) throw new Refusal('EINVAL');
    this.#requireFree(range);
    return start;
  }

  #requireFree(range: Range): void {
    const { reservationInTheWay, areaInTheWay } = this.rules;
    if (this.reserved.some((reservation) => meets(reservation, range)))
      throw new Refusal(reservationInTheWay);
    if (this.areas.some((area) => meets(area, range))) throw new Refusal(areaInTheWay);
  }

  #choose(first: Element, length: bigint): bigint {
    return chooseNaively(this, first.backing.start + first.startByte, length);
  }

  /** What filling `domains` with `areas`, one after the other, would be refused with. */
  #requireFill(areas: readonly Area[], domains: readonly NaiveDomain[]): void {
    const before: Piece[] = [];
    for (const area of areas) {
      const piece = pieceOf(area);
      this.world.requireMemory(piece, before);
      for (const domain of domains) {
        if (area.prot === '' && !this.rules.mapsWithoutPermission) throw new Refusal('EINVAL');
        if (!conforms(area, lowestBit(domain.pageSizes))) throw new Refusal('EINVAL');
        const { poison } = domain;
        if (poison !== undefined && area.start <= poison && poison <= area.last) throw new Refusal('ENOENT');
      }
      before.push(piece);
      this.world.requireAllowance(before);
    }
  }

  #put(areas: readonly Area[]): void {
    this.#noteFill(areas, this.domains);
    this.areas = [...this.areas, ...areas].sort((a, b) => (a.start < b.start ? -1 : 1));
  }

  #noteFill(areas: readonly Area[], domains: readonly NaiveDomain[]): void {
    for (const { fills } of areas) for (const domain of domains) fills.set(domain, this.largePages);
  }

  #drop(area: Area): void {
    this.areas = this.areas.filter((other) => other !== area);
    for (const { dirty } of this.domains) {
      for (const page of dirty?.pages ?? [])
        if (page >= area.start && page <= area.last) dirty?.pages.delete(page);
    }
  }

  /** Unmaps all areas in `length` bytes from `iova`. Gives the number of bytes. */
  unmap(iova: bigint, length: bigint): bigint {
    const last = lastOf(iova, length);
    return this.rules.unmapTakes === 'areas-inside'
      ? this.#unmapInside(iova, last)
      : this.#unmapExact(iova, last);
  }

  /** Unmaps everything. Gives the number of bytes. */
  unmapAll(): bigint {
    return this.#unmapInside(0n, MAX);
  }

  #unmapExact(start: bigint, last: bigint): bigint {
    const area = this.areas.find((candidate) => candidate.start === start && candidate.last === last);
    if (area === undefined) throw new Refusal('ENOENT');
    if (this.users(area) > 0 && !this.rules.asksToLetGo) throw new Refusal('EBUSY');
    return this.#unmapInside(start, last);
  }

  #unmapInside(first: bigint, last: bigint): bigint {
    let start = first;
    let bytes = 0n;
    let tries = 0;
    for (;;) {
      const area = this.areas.find((candidate) => meets(candidate, { start, last }));
      if (area === undefined) return bytes;
      if (this.users(area, true) > 0) throw new Refusal('EBUSY', bytes);
      if (area.start < start || area.last > last) throw new Refusal('ENOENT', bytes);
      if (area.start !== start) tries = 0;
      if (this.users(area) > 0) {
        if (!this.rules.asksToLetGo) throw new Refusal('EBUSY', bytes);
        start = area.start;
        area.closed = true;
        const attached = [...this.accesses];
        for (const access of attached) access?.told(area.start, area.last - area.start + 1n);
        tries += 1;
        if (tries > 100) throw new Refusal('EDEADLOCK', bytes);
        continue;
      }
      this.#drop(area);
      bytes += area.last - area.start + 1n;
      if (area.last >= last) return bytes;
      start = area.last + 1n;
    }
  }

  /**
   * Visits the areas that cover `[iova, last]` without a gap, with the part of each that lies in it. `false` if
   * there is a gap; what lies before it has been visited then.
   */
  walk(iova: bigint, last: bigint, visit: (area: Area, first: bigint, last: bigint) => void): boolean {
    for (let at = iova; ; ) {
      const here = at;
      const area = this.areas.find((candidate) => candidate.start <= here && here <= candidate.last);
      if (area === undefined) return false;
      visit(area, at, min(area.last, last));
      if (area.last >= last) return true;
      at = area.last + 1n;
    }
  }

  /** The area at `iova`. */
  areaAt(iova: bigint): Area | undefined {
    return this.areas.find((candidate) => candidate.start <= iova && iova <= candidate.last);
  }

  /** The physical address behind `iova`, or `undefined` if nothing is mapped there. */
  translate(iova: bigint): bigint | undefined {
    const area = this.areaAt(iova);
    return area && physicalAt(area, iova);
  }

  /** EADDRINUSE if an area does not fit `alignment`. */
  requireAlignment(alignment: bigint): void {
    if (!this.areas.every((area) => conforms(area, alignment))) throw new Refusal('EADDRINUSE');
  }

  /** Attaches a domain and fills it. */
  addDomain(domain: NaiveDomain): void {
    if (this.domains.includes(domain)) throw new Refusal('EEXIST');
    const alignment = max(lowestBit(domain.pageSizes), this.alignment);
    if (alignment > PAGE) throw new Refusal('EINVAL');
    if (alignment !== this.alignment) this.requireAlignment(alignment);
    const { start, last } = domain.aperture;
    const outside: Reservation[] = [];
    if (start !== 0n) outside.push({ start: 0n, last: start - 1n, owner: domain });
    if (last !== MAX) outside.push({ start: last + 1n, last: MAX, owner: domain });
    for (const range of outside) this.#requireReservable(range);
    this.#requireFill(this.areas, [domain]);
    this.reserved.push(...outside);
    this.domains.push(domain);
    this.#noteFill(this.areas, [domain]);
  }

  /** Detaches a domain. */
  removeDomain(domain: NaiveDomain): void {
    const at = this.domains.indexOf(domain);
    const moved = this.domains.pop();
    if (moved !== undefined && moved !== domain) this.domains[at] = moved;
    domain.dirty?.pages.clear();
    for (const { fills } of this.areas) fills.delete(domain);
    this.removeReserved(domain);
  }

  #requireReservable(range: Range): void {
    if ([...this.areas, ...this.allowed].some((other) => meets(other, range)))
      throw new Refusal('EADDRINUSE');
  }

  /** Reserves `[start, last]`. */
  reserve(start: bigint, last: bigint, owner: Owner): void {
    this.#requireReservable({ start, last });
    this.reserved.push({ start, last, owner });
  }

  /** Takes back everything that `owner` reserved. */
  removeReserved(owner: Owner): void {
    this.reserved = this.reserved.filter((reservation) => reservation.owner !== owner);
  }

  /** Reserves a device's regions. Gives the start of the software MSI window. */
  enforceRegions(device: object, regions: readonly DeviceRegion[]): bigint | undefined {
    let window: bigint | undefined;
    let hardware = 0;
    let software = 0;
    try {
      for (const { start, length, type } of regions) {
        if (type === 'direct-relaxable') continue;
        if (type === 'msi') hardware += 1;
        if (type === 'sw-msi') {
          window = start;
          software += 1;
        }
        this.reserve(start, start + length - 1n, device);
      }
      if (this.rules.mixedMsi === 'hardware-wins') return hardware > 0 ? undefined : window;
      if ((hardware > 0 && software > 0) || software > 1) throw new Refusal('EINVAL');
    } catch (refusal) {
      this.removeReserved(device);
      throw refusal;
    }
    return window;
  }

  /** Replaces the list of allowed ranges. */
  setAllowed(ranges: readonly Range[]): void {
    ranges.forEach((range, at) => {
      if (range.start >= range.last) throw new Refusal('EINVAL');
      if (ranges.slice(0, at).some((before) => meets(before, range))) throw new Refusal('EINVAL');
    });
    if (ranges.some((range) => this.reserved.some((reservation) => meets(reservation, range)))) {
      throw new Refusal('EADDRINUSE');
    }
    this.allowed = [...ranges];
  }

  /** What can be mapped at all: everything that is not reserved. */
  ranges(): Range[] {
    return holes(this.reserved, { start: 0n, last: MAX });
  }

  /** Switches large pages on or off. */
  setLargePages(enable: boolean): void {
    if (!enable && this.largePages) {
      if (this.domains.length > 0 && this.areas.length > 0) throw new Refusal('EINVAL');
      this.requireAlignment(PAGE);
    }
    this.largePages = enable;
  }

  /** Cuts areas in two after each of `addresses`; cuts made before an error stay. */
  cut(addresses: readonly bigint[]): void {
    for (const x of addresses) {
      const area = this.areas.find((candidate) => candidate.start <= x && x <= candidate.last);
      if (area === undefined || x === area.start || x === area.last) continue;
      const right = x + 1n;
      const rightByte = byteAt(area, right);
      if (area.closed) throw new Refusal('EBUSY');
      if (area.backing.source.kind === 'dma-buf') throw new Refusal('EOPNOTSUPP');
      if (right % this.alignment !== 0n || rightByte % this.alignment !== 0n) throw new Refusal('EINVAL');
      if (this.users(area) > 0) throw new Refusal('EINVAL');
      if (this.domains.length > 0 && this.largePages) throw new Refusal('EINVAL');
      this.areas = this.areas.flatMap((other) =>
        other === area
          ? [
              { ...area, last: x },
              { ...area, start: right, startByte: rightByte },
            ]
          : [other],
      );
    }
  }

  /** Switches dirty tracking of a domain; switching it on forgets all marks. */
  setDirtyTracking(domain: NaiveDomain, enable: boolean): void {
    if (domain.dirty === undefined) throw new Refusal('EOPNOTSUPP');
    if (enable) domain.dirty.pages.clear();
    domain.dirty.tracking = enable;
  }

  /** The bits of a dirty bitmap of `[iova, iova + length)` that are set, up to the first gap between areas. */
  readDirty(domain: NaiveDomain, iova: bigint, length: bigint, pageSize: bigint, keep: boolean): Set<bigint> {
    const last = lastOf(iova, length);
    const alignment = this.alignment;
    const after = BigInt.asUintN(64, last + 1n);
    if (iova % alignment !== 0n || after % alignment !== 0n) throw new Refusal('EINVAL');
    if (pageSize === 0n) throw new Refusal('EINVAL');
    if ((iova & (pageSize - 1n)) !== 0n || (after & (pageSize - 1n)) !== 0n) throw new Refusal('EINVAL');
    const { dirty } = domain;
    if (dirty === undefined) throw new Refusal('EOPNOTSUPP');
    const bits = new Set<bigint>();
    if (!dirty.tracking && !this.rules.dirtyReadsWhileOff) return bits;
    const granule = lowestBit(pageSize);
    const wholePages = this.rules.dirtyPageAcross === 'from-start';
    this.walk(iova, last, (area, first, until) => {
      for (const page of dirtyUnits(area, domain)) {
        if (!dirty.pages.has(page.start) || !meets(page, { start: first, last: until })) continue;
        if (!wholePages && page.start < first) continue;
        if (!keep) dirty.pages.delete(page.start);
        if (page.start < iova) continue;
        const lastBit = (page.last - iova) / granule;
        for (let bit = (page.start - iova) / granule; bit <= lastBit; bit++) bits.add(bit);
      }
    });
    return bits;
  }

  /** What a device's write to `iova` makes dirty. */
  markDirty(domain: NaiveDomain, iova: bigint): boolean {
    const area = this.areaAt(iova);
    if (area === undefined) return false;
    const unit = dirtyUnits(area, domain).find(({ start, last }) => start <= iova && iova <= last);
    if (unit !== undefined) domain.dirty?.pages.add(unit.start);
    return unit !== undefined;
  }
}

function physicalAt(area: Area, iova: bigint): bigint | undefined {
  const byte = byteAt(area, iova);
  const frame = frameOf(area.backing, byte / PAGE);
  return frame === undefined ? undefined : frame * PAGE + (byte % PAGE);
}

/** The parts of an area that a domain has a dirty mark for. */
function dirtyUnits(area: Area, domain: NaiveDomain): Range[] {
  if (domain.entries) return entriesOf(area, domain);
  const size = lowestBit(domain.pageSizes);
  const units: Range[] = [];
  for (let start = area.start; start <= area.last; start += size) {
    if (physicalAt(area, start) !== undefined) units.push({ start, last: start + size - 1n });
  }
  return units;
}

/** The entries that a domain has of an area: each the largest that suits both addresses and what is left of its run. */
export function entriesOf(area: Area, domain: NaiveDomain): Range[] {
  const largePages = area.fills.get(domain);
  if (largePages === undefined) return [];
  const entries: Range[] = [];
  let iova = area.start;
  while (iova <= area.last) {
    const physical = physicalAt(area, iova);
    if (physical === undefined) return entries;
    const runLast = runLastOf(area, iova, largePages);
    let size = lowestBit(domain.pageSizes);
    for (let larger = size; larger <= runLast - iova + 1n; larger *= 2n) {
      if ((domain.pageSizes & larger) !== 0n && (iova | physical) % larger === 0n) size = larger;
    }
    entries.push({ start: iova, last: iova + size - 1n });
    iova += size;
  }
  return entries;
}

/** The last byte of the run of consecutive memory that `iova` is in, as it was given to the domain. */
export function runLastOf(area: Area, iova: bigint, largePages = true): bigint {
  let last = iova + (PAGE - 1n - (byteAt(area, iova) % PAGE));
  while (largePages && last < area.last && physicalAt(area, last + 1n) === physicalAt(area, last)! + 1n) {
    last += PAGE;
  }
  return min(last, area.last);
}

function conforms(area: Area, alignment: bigint): boolean {
  const length = area.last - area.start + 1n;
  return [area.start, length, area.startByte % PAGE].every((value) => value % alignment === 0n);
}

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
import type { NaiveProcess } from './naive-process.js';
import { holes, lastOf, lowestBit, MAX, max, meets, min, PAGE, type Range, Refusal } from './naive-ranges.js';

/** Permissions of a mapping. */
export type Prot = '' | 'r' | 'w' | 'rw';

/** The counters of locked memory: the user's, the process's, or none. */
export type Charged = 'user' | 'mm' | 'none';

/** The user pages that one `map` made available; copies and cuts share it. */
export interface Backing {
  /** User address of page 0; page aligned. */
  readonly uptr: bigint;
  /** Pinned for writing: the map that made it asked for it. */
  readonly writable: boolean;
  /** Which counter of locked memory its pages count in. */
  readonly charged: Charged;
}

/** One mapping. */
export interface Area extends Range {
  readonly backing: Backing;
  /** Position of the first byte in the backing. */
  readonly startByte: bigint;
  readonly prot: Prot;
  /** An unmap has told the accesses to let go; it never becomes accessible to the CPU again. */
  closed: boolean;
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
  /** Dirty tracking: `undefined` for a domain without it. */
  readonly dirty: { tracking: boolean; readonly pages: Set<bigint> } | undefined;
}

/** A new domain. */
export function naiveDomain(pageSizes: bigint, aperture: Range, dirty = false): NaiveDomain {
  return {
    pageSizes,
    aperture,
    poison: undefined,
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

  #lockedAtExit: bigint | undefined;

  constructor(process: NaiveProcess) {
    this.process = process;
  }

  /** Everything that has to be pinned now, piece by piece, with repetitions. */
  pieces(): Piece[] {
    const filled = this.tables.filter((table) => table.domains.length > 0).flatMap((table) => table.areas);
    const held = this.accesses.flatMap((access) => access.pins).flatMap((pin) => pin.pieces);
    return [...filled.map(pieceOf), ...held];
  }

  /** The pinned page indexes of every backing, if `more` had to be pinned as well. */
  pinned(more: readonly Piece[] = []): Map<Backing, Set<bigint>> {
    const pinned = new Map<Backing, Set<bigint>>();
    for (const { backing, first, last } of [...this.pieces(), ...more]) {
      const indexes = pinned.get(backing) ?? new Set();
      for (let index = first; index <= last; index++) indexes.add(index);
      pinned.set(backing, indexes);
    }
    return pinned;
  }

  /** How many backings pin each user page; pages that none pins are absent. */
  pins(): Map<bigint, number> {
    const pins = new Map<bigint, number>();
    for (const [backing, indexes] of this.pinned()) {
      for (const index of indexes) {
        const page = backing.uptr / PAGE + index;
        pins.set(page, (pins.get(page) ?? 0) + 1);
      }
    }
    return pins;
  }

  /** The process ends. Its own counter of locked memory ends with it: nothing is given back to it any more. */
  exit(): void {
    this.#lockedAtExit = this.locked('mm');
    this.process.exited = true;
  }

  /** Number of (backing, page) pairs in a counter of locked memory, if `more` had to be pinned as well. */
  locked(counter: Charged, more: readonly Piece[] = []): bigint {
    if (counter === 'mm' && this.#lockedAtExit !== undefined) return this.#lockedAtExit;
    let pages = 0n;
    for (const [backing, indexes] of this.pinned(more)) {
      if (backing.charged === counter) pages += BigInt(indexes.size);
    }
    return pages;
  }

  /** Whether `piece` could be pinned on top of `before`: EFAULT or EOVERFLOW. Pages pinned already need nothing. */
  requireMemory(piece: Piece, before: readonly Piece[]): void {
    const pinned = this.pinned(before).get(piece.backing) ?? new Set();
    const base = piece.backing.uptr / PAGE;
    for (let index = piece.first; index <= piece.last; index++) {
      if (pinned.has(index)) continue;
      const last = lastUnpinned(pinned, index, piece.last);
      const error = this.process.pinError(base + index, base + last, piece.backing.writable);
      if (error !== undefined) throw new Refusal(error);
      index = last;
    }
  }

  /** ENOMEM if `more` on top of what is pinned exceeds the limit on locked memory. */
  requireAllowance(more: readonly Piece[]): void {
    const limit = this.process.limitPages;
    if (limit === undefined) return;
    if (this.locked('user', more) > limit || this.locked('mm', more) > limit) throw new Refusal('ENOMEM');
  }
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

  /** Number of pins in an area: one per pin item that goes through it. */
  users(area: Area): number {
    let users = 0;
    for (const access of this.world.accesses) {
      for (const pin of access.pins) users += pin.pieces.filter((piece) => piece.area === area).length;
    }
    return users;
  }

  /** Maps user memory at `iova`, or at an IOVA of the table's choice. Gives the IOVA. */
  map(iova: bigint | undefined, uptr: bigint, length: bigint, prot: Prot, charged: Charged = 'user'): bigint {
    if (length > MAX - PAGE || length === 0n) throw new Refusal('EINVAL');
    if (uptr + length > MAX) throw new Refusal('EOVERFLOW');
    const offset = uptr % PAGE;
    const backing = { uptr: uptr - offset, writable: prot.includes('w'), charged };
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
      areas.push({ start: at, last: at + bytes - 1n, backing, startByte, prot, closed: false });
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
    return chooseNaively(this, first.backing.uptr + first.startByte, length);
  }

  /** What filling `domains` with `areas`, one after the other, would be refused with. */
  #requireFill(areas: readonly Area[], domains: readonly NaiveDomain[]): void {
    const before: Piece[] = [];
    for (const area of areas) {
      const piece = pieceOf(area);
      this.world.requireMemory(piece, before);
      for (const domain of domains) {
        if (!conforms(area, lowestBit(domain.pageSizes))) throw new Refusal('EINVAL');
        const { poison } = domain;
        if (poison !== undefined && area.start <= poison && poison <= area.last) throw new Refusal('ENOENT');
      }
      before.push(piece);
      this.world.requireAllowance(before);
    }
  }

  #put(areas: readonly Area[]): void {
    this.areas = [...this.areas, ...areas].sort((a, b) => (a.start < b.start ? -1 : 1));
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

  /** The user address behind `iova`, or `undefined` if nothing is mapped there. */
  translate(iova: bigint): bigint | undefined {
    const area = this.areas.find((candidate) => candidate.start <= iova && iova <= candidate.last);
    return area && area.backing.uptr + byteAt(area, iova);
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
  }

  /** Detaches a domain. */
  removeDomain(domain: NaiveDomain): void {
    const at = this.domains.indexOf(domain);
    const moved = this.domains.pop();
    if (moved !== undefined && moved !== domain) this.domains[at] = moved;
    domain.dirty?.pages.clear();
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
    if (!dirty.tracking) return bits;
    const granule = lowestBit(pageSize);
    const ioPage = lowestBit(domain.pageSizes);
    this.walk(iova, last, (_, first, until) => {
      for (const page of [...dirty.pages]) {
        if (page < first || page > until) continue;
        const lastBit = (page + ioPage - 1n - iova) / granule;
        for (let bit = (page - iova) / granule; bit <= lastBit; bit++) bits.add(bit);
        if (!keep) dirty.pages.delete(page);
      }
    });
    return bits;
  }
}

function conforms(area: Area, alignment: bigint): boolean {
  const length = area.last - area.start + 1n;
  return [area.start, length, area.startByte % PAGE].every((value) => value % alignment === 0n);
}

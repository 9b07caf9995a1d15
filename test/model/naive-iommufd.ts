/**
 * The objects and the ioctl checks around the naive model, as far as the recorded traces need them: it answers
 * the operations of a trace.
 */
import assert from 'node:assert/strict';
import { profileOfTrace, type Rules, rulesOf } from '../../src/rules.js';
import { NaiveAccess, type Pin } from './naive-access.js';
import { NaiveDmaBuf, NaiveFile, type NaiveFileKind, NaiveFrames, NaivePage } from './naive-memory.js';
import { NaiveProcess } from './naive-process.js';
import { lastOf, lowestBit, MAX, max, min, PAGE, type Range, Refusal } from './naive-ranges.js';
import {
  byteAt,
  type Charged,
  frameOf,
  type NaiveDomain,
  type NaiveOwner,
  NaiveTable,
  NaiveWorld,
  naiveDomain,
  type Prot,
  runLastOf,
} from './naive-table.js';

/** First line of a trace. */
export interface TraceHeader {
  readonly profile?: string;
  readonly kernel?: string;
  readonly memory: readonly { readonly uptr: string; readonly length: string; readonly writable: boolean }[];
  readonly memlock_pages?: number;
  readonly rlimit_mode?: number;
  readonly files?: readonly FileHeader[];
  readonly processes?: readonly { readonly memlock_pages: number; readonly same_user: boolean }[];
  readonly noiommu?: number;
}

interface FileHeader {
  readonly file: string;
  readonly kind: string;
  readonly uptr?: string;
  readonly size?: string;
}

/** One recorded operation; which arguments it has depends on `op`. */
export interface TraceStep {
  readonly op: string;
  readonly expect: Answer;
  readonly ioas?: string;
  readonly dst?: string;
  readonly src?: string;
  readonly domain?: string;
  readonly access?: string;
  readonly item?: string;
  readonly iova?: string | null;
  readonly dst_iova?: string | null;
  readonly src_iova?: string;
  readonly uptr?: string | null;
  readonly length?: string;
  readonly start?: string;
  readonly prot?: Prot;
  readonly ranges?: readonly (readonly [string, string])[];
  readonly max?: number;
  readonly value?: number;
  readonly huge?: boolean;
  readonly dirty?: boolean;
  readonly io_page?: number;
  readonly aperture?: readonly [string, string];
  readonly refs?: number;
  readonly pins?: boolean;
  readonly write?: boolean;
  readonly slow?: boolean;
  readonly seed?: number;
  readonly enable?: boolean;
  readonly page_size?: string;
  readonly bitmap?: string;
  readonly no_clear?: boolean;
  readonly type?: number;
  readonly extension?: number;
  readonly all?: boolean;
  readonly nest?: boolean;
  readonly file?: string;
  readonly size?: string;
  readonly revoked?: boolean;
  readonly process?: number;
  readonly queue?: string;
  readonly index?: number;
  readonly device?: number;
}

/** `errno` and the outputs. */
export type Answer = Readonly<Record<string, unknown>>;

interface DomainObject {
  readonly table: NaiveTable;
  readonly domain: NaiveDomain;
  readonly nest: boolean;
  /** What hardware queues there are on it, and what the driver believes to be in its first slots. */
  readonly queues: Queue[];
  readonly slots: (Queue | undefined)[];
  /** It has a virtual IOMMU. */
  viommu: boolean;
}

interface Queue {
  readonly access: NaiveAccess;
  readonly needs: Queue | undefined;
}

/** A descriptor. */
interface Descriptor {
  /** What it is of; `undefined` if it is of no use but to be closed. */
  readonly file: NaiveFile | NaiveDmaBuf | undefined;
  /** Why the file cannot be resized. */
  readonly fixed: 'EINVAL' | 'EPERM' | 'EBADF' | undefined;
}

const MOCK_APERTURE = { start: 0x1000000n, last: 0x7fffffffn };
const MOCK_IO_PAGE = 0x800n;
const MOCK_HUGE_PAGE = 0x100000n;
const LARGEST_BUFFER = 16n * 1024n * 1024n;
const LARGEST_DMA_BUF = 2n * 1024n * 1024n;
const MOST_DIRTY_BITS = 2n ** 27n;
/** The most pages of a hardware queue: their list must be allocatable. */
const MOST_QUEUE_PAGES = (2n ** 31n - 1n) / 8n;

const powers = (from: bigint, to: bigint): bigint => 2n * to - from;
const ENTRIES = { entries: true };
/** The test driver's page tables where they have entries. */
const ORDINARY = powers(0x800n, 2n ** 36n);
const HUGE = { pageSizes: PAGE | MOCK_HUGE_PAGE, aperture: { start: 0n, last: 2n ** 38n - 1n } };
const NO_IOMMU_SIZES = 0xf_ff7f_ffff_f000n;

/** One descriptor. */
export class NaiveIommufd {
  readonly world: NaiveWorld;
  readonly #rules: Rules;
  readonly #limited: boolean;
  #rlimitMode: number;
  #helpers = false;
  #compat: string | undefined;
  readonly #noIommu: number;
  readonly #frames = new NaiveFrames();
  readonly #owners: readonly NaiveOwner[];
  readonly #tables = new Map<string, NaiveTable>();
  readonly #domains = new Map<string, DomainObject>();
  readonly #accesses = new Map<string, NaiveAccess>();
  readonly #items = new Map<string, Pin>();
  readonly #files = new Map<string, Descriptor>();
  readonly #queues = new Map<string, { readonly domain: DomainObject; readonly queue: Queue }>();
  /** Devices without an IOMMU that are attached, and the page table of each address space that has some. */
  readonly #devices = new Map<number, NaiveTable>();
  readonly #automatic = new Map<NaiveTable, NaiveDomain>();

  constructor(header: TraceHeader) {
    const shown = new Map<string, NaiveFile>();
    for (const file of header.files ?? []) this.#open(file, shown);
    const regions = header.memory.map(({ uptr, length, writable }) => ({
      start: BigInt(uptr),
      last: BigInt(uptr) + BigInt(length) - 1n,
      writable,
      file: shown.get(uptr),
    }));
    const limit = header.memlock_pages;
    const limitPages = limit === undefined ? undefined : BigInt(limit);
    const frames = this.#frames;
    const options = { limitPages, initial: traceByte, frameOf: () => frames.lonely() };
    this.world = new NaiveWorld(new NaiveProcess(regions, options));
    const { owner } = this.world;
    this.#owners = [
      owner,
      ...(header.processes ?? []).map(({ memlock_pages, same_user }) => ({
        user: same_user ? owner.user : {},
        mm: {},
        limitPages: BigInt(memlock_pages),
      })),
    ];
    const profile = profileOfTrace(header.profile, header.kernel);
    assert(profile !== undefined, 'the trace is of a profile that is known');
    this.#rules = rulesOf(profile);
    this.#limited = limit !== undefined;
    this.#rlimitMode = header.rlimit_mode ?? 0;
    this.#noIommu = header.noiommu ?? 0;
  }

  #open({ file, kind, uptr, size }: FileHeader, shown: Map<string, NaiveFile>): void {
    if (kind === 'closed') return;
    if (kind === 'path') {
      this.#files.set(file, { file: undefined, fixed: 'EBADF' });
      return;
    }
    const bytes = BigInt(size ?? 0);
    const huge = kind === 'memfd-huge' ? this.#frames.together(512n) : undefined;
    const start = BigInt(uptr ?? 0);
    const opened = new NaiveFile(fileKindOf(kind), bytes, {
      firstPage: (index) => {
        const frame = huge === undefined ? this.#frames.lonely() : huge + index;
        const initial = (offset: number) => traceByte(start + index * PAGE + BigInt(offset));
        return new NaivePage(frame, initial, huge !== undefined);
      },
      newPage: () => new NaivePage(this.#frames.lonely()),
    });
    if (uptr !== undefined) shown.set(uptr, opened);
    const fixed =
      kind === 'memfd-sealed'
        ? 'EPERM'
        : ['memfd-rdonly', 'null', 'dir'].includes(kind)
          ? 'EINVAL'
          : undefined;
    this.#files.set(file, { file: opened, fixed });
  }

  /** Carries an operation out and gives its answer in the form of the trace. */
  answer(step: TraceStep): Answer {
    const outputs: Record<string, unknown> = {};
    try {
      this.#run(step, outputs);
      return { errno: 'OK', ...outputs };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { errno: error.code, ...outputs };
    } finally {
      this.world.settle();
    }
  }

  #run(step: TraceStep, out: Record<string, unknown>): void {
    switch (step.op) {
      case 'ioas_alloc':
        this.#tables.set(step.ioas!, new NaiveTable(this.world, this.#rules));
        break;
      case 'ioas_destroy':
        this.#destroyTable(step.ioas!);
        break;
      case 'map':
        out.iova = hex(this.#map(step));
        break;
      case 'unmap':
        this.#unmap(step, out);
        break;
      case 'copy':
        out.iova = hex(this.#copy(step));
        break;
      case 'iova_ranges':
        this.#ranges(step, out);
        break;
      case 'allow_iovas':
        this.#table(step.ioas).setAllowed(
          step.ranges!.map(([start, last]) => ({ start: BigInt(start), last: BigInt(last) })),
        );
        break;
      case 'reserve':
        this.#reserve(step);
        break;
      case 'huge_pages_set': {
        const table = this.#table(step.ioas);
        if (step.value !== 0 && step.value !== 1) throw new Refusal('EINVAL');
        table.setLargePages(step.value === 1);
        break;
      }
      case 'huge_pages_get':
        out.value = this.#table(step.ioas).largePages ? 1 : 0;
        break;
      case 'rlimit_mode_set':
        this.#setRlimitMode(step.value!);
        break;
      case 'rlimit_mode_get':
        out.value = this.#rlimitMode;
        break;
      case 'domain_add':
        this.#addDomain(step);
        break;
      case 'domain_remove': {
        const { table, domain, queues } = this.#domain(step.domain);
        if (queues.length > 0) throw new Refusal('EBUSY');
        table.removeDomain(domain);
        this.#domains.delete(step.domain!);
        break;
      }
      case 'map_file':
        out.iova = hex(this.#mapFile(step));
        break;
      case 'file_resize':
        this.#resize(step);
        break;
      case 'file_close':
        if (!this.#files.delete(step.file!)) throw new Refusal('EBADF');
        break;
      case 'change_process':
        this.world.changeOwner(this.#owners[step.process!]!);
        break;
      case 'dmabuf_create': {
        const size = ((BigInt(step.length!) + PAGE - 1n) / PAGE) * PAGE;
        if (size === 0n || size > LARGEST_DMA_BUF) throw new Refusal('EINVAL');
        const file = new NaiveDmaBuf(size, this.#frames.together(size / PAGE));
        this.#files.set(step.file!, { file, fixed: 'EINVAL' });
        break;
      }
      case 'dmabuf_revoke': {
        const file = this.#file(step);
        if (!(file instanceof NaiveDmaBuf)) throw new Refusal('EINVAL');
        file.revoked = step.revoked!;
        file.invalidations += 1;
        break;
      }
      case 'queue_add':
        this.#addQueue(step);
        break;
      case 'queue_remove':
        this.#removeQueue(step);
        break;
      case 'noiommu_attach':
        this.#attachDevice(step);
        break;
      case 'noiommu_detach':
        this.#detachDevice(step.device!);
        break;
      case 'get_pa':
        this.#physicalAddress(step, out);
        break;
      case 'check_map':
        this.#checkMap(step);
        break;
      case 'page_pins':
        out.runs = this.#pagePins(BigInt(step.uptr!), BigInt(step.length!));
        break;
      case 'check_refs':
        this.#checkRefs(BigInt(step.uptr!), BigInt(step.length!), step.refs!);
        break;
      case 'mem_hash':
        out.hash = this.#memoryHash(BigInt(step.uptr!), BigInt(step.length!));
        break;
      case 'access_create': {
        const table = this.#table(step.ioas);
        const access = new NaiveAccess(this.world, step.pins!);
        access.attach(table);
        this.#accesses.set(step.access!, access);
        break;
      }
      case 'access_destroy':
        this.#access(step.access).detach();
        this.#accesses.delete(step.access!);
        break;
      case 'access_replace_ioas': {
        const access = this.#access(step.access);
        access.replace(this.#table(step.ioas));
        break;
      }
      case 'access_pin':
        this.#pin(step);
        break;
      case 'access_unpin': {
        const access = this.#access(step.access);
        const pin = this.#items.get(step.item!);
        if (pin === undefined || !access.pins.includes(pin)) throw new Refusal('ENOENT');
        access.unpin(pin);
        break;
      }
      case 'access_rw':
        this.#rw(step, out);
        break;
      case 'dirty_set_tracking': {
        const { table, domain } = this.#domain(step.domain);
        table.setDirtyTracking(domain, step.enable!);
        break;
      }
      case 'dirty_mark':
        out.marked = this.#markDirty(step);
        break;
      case 'dirty_get':
        out.bitmap = this.#readDirty(step);
        break;
      default:
        this.#vfio(step, out);
    }
  }

  #table(handle: string | undefined): NaiveTable {
    const table = this.#tables.get(handle!);
    if (table === undefined) throw new Refusal('ENOENT');
    return table;
  }

  #domain(handle: string | undefined): DomainObject {
    const object = this.#domains.get(handle!);
    if (object === undefined) throw new Refusal('ENOENT');
    return object;
  }

  #access(handle: string | undefined): NaiveAccess {
    const access = this.#accesses.get(handle!);
    if (access === undefined) throw new Refusal('EBADFD');
    return access;
  }

  #file({ file }: TraceStep): NaiveFile | NaiveDmaBuf {
    const opened = this.#files.get(file!)?.file;
    if (opened === undefined) throw new Refusal('EBADF');
    return opened;
  }

  #destroyTable(handle: string): void {
    const table = this.#table(handle);
    if (table.domains.length > 0 || table.accesses.some((access) => access !== undefined)) {
      throw new Refusal('EBUSY');
    }
    table.unmapAll();
    this.world.tables.splice(this.world.tables.indexOf(table), 1);
    this.#tables.delete(handle);
    if (this.#compat === handle) this.#compat = undefined;
  }

  #map(step: TraceStep): bigint {
    const iova = optional(step.iova);
    const length = BigInt(step.length!);
    if (iova === MAX || length === MAX) throw new Refusal('EOVERFLOW');
    if (step.prot === '') throw new Refusal('EINVAL');
    return this.#table(step.ioas).map(iova, BigInt(step.uptr!), length, step.prot!, this.#charged);
  }

  get #charged(): Charged {
    if (!this.#limited) return 'none';
    return this.#rlimitMode === 1 ? 'mm' : 'user';
  }

  #mapFile(step: TraceStep): bigint {
    const iova = optional(step.iova);
    const length = BigInt(step.length!);
    if (iova === MAX || length === MAX) throw new Refusal('EOVERFLOW');
    if (step.prot === '') throw new Refusal('EINVAL');
    const table = this.#table(step.ioas);
    const request = { start: BigInt(step.start!), length, prot: step.prot!, charged: this.#charged };
    return table.mapFile(iova, this.#files.get(step.file!)?.file, request);
  }

  #resize(step: TraceStep): void {
    const descriptor = this.#files.get(step.file!);
    if (descriptor === undefined) throw new Refusal('EBADF');
    const { file, fixed } = descriptor;
    if (fixed !== undefined) throw new Refusal(fixed);
    if (file instanceof NaiveFile) this.world.resize(file, BigInt(step.size!));
  }

  #addQueue(step: TraceStep): void {
    this.#helpers = true;
    const domain = this.#domain(step.domain);
    if (!domain.nest) throw new Refusal('EINVAL');
    domain.viommu = true;
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    lastOf(iova, length);
    const offset = iova % PAGE;
    const whole = ((offset + length + PAGE - 1n) / PAGE) * PAGE;
    if (whole > MAX) throw new Refusal('ERANGE');
    if (whole / PAGE > MOST_QUEUE_PAGES) throw new Refusal('ENOMEM');
    if (whole / PAGE > 2n ** 20n) throw new Refusal('ENOMEM');
    const access = new NaiveAccess(this.world, true);
    access.locks = true;
    access.attach(domain.table);
    try {
      const pin = access.pin(iova - offset, whole, false);
      const pages = NaiveAccess.pages(pin);
      if (pages.some((page, at) => page.frame !== pages[0]!.frame + BigInt(at))) throw new Refusal('EFAULT');
      const { slots, queues } = domain;
      const index = step.index!;
      if (index > 1) throw new Refusal('EINVAL');
      if (slots[index] !== undefined) throw new Refusal('EEXIST');
      if (index === 1 && slots[0] === undefined) throw new Refusal('EIO');
      const queue = { access, needs: index === 1 ? slots[0] : undefined };
      slots[index] = queue;
      queues.push(queue);
      this.#queues.set(step.queue!, { domain, queue });
    } catch (refusal) {
      access.release();
      throw refusal;
    }
  }

  #removeQueue(step: TraceStep): void {
    const found = this.#queues.get(step.queue!);
    if (found === undefined) throw new Refusal('ENOENT');
    const { domain, queue } = found;
    const { queues, slots } = domain;
    if (queues.some(({ needs }) => needs === queue)) throw new Refusal('EBUSY');
    queue.access.release();
    queues.splice(queues.indexOf(queue), 1);
    // The driver's own slip: whichever queue goes, it is the first slot that becomes free.
    slots[0] = undefined;
    this.#queues.delete(step.queue!);
  }

  #attachDevice(step: TraceStep): void {
    this.#helpers = true;
    const table = this.#table(step.ioas);
    const before = this.#devices.get(step.device!);
    if (before === table) return;
    if (!this.#automatic.has(table)) {
      const domain = naiveDomain(NO_IOMMU_SIZES, { start: 0n, last: MAX }, false, {
        entries: true,
        noIommu: true,
      });
      table.addDomain(domain);
      this.#automatic.set(table, domain);
    }
    this.#devices.set(step.device!, table);
    if (before !== undefined) this.#leave(before);
  }

  #detachDevice(device: number): void {
    this.#helpers = true;
    const table = this.#devices.get(device);
    this.#devices.delete(device);
    if (table !== undefined) this.#leave(table);
  }

  /** A device has left an address space: its page table goes with the last one. */
  #leave(table: NaiveTable): void {
    if ([...this.#devices.values()].includes(table)) return;
    table.removeDomain(this.#automatic.get(table)!);
    this.#automatic.delete(table);
  }

  #physicalAddress(step: TraceStep, out: Record<string, unknown>): void {
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    if (length === 0n) throw new Refusal('EINVAL');
    if (iova === MAX) throw new Refusal('EOVERFLOW');
    const table = this.#table(step.ioas);
    const area = table.areaAt(iova);
    if (area === undefined) throw new Refusal('ENOENT');
    const physical = table.translate(iova);
    if (physical === undefined && area.backing.source.kind === 'dma-buf') throw new Refusal('EINVAL');
    if (table.domains[0]?.noIommu !== true) throw new Refusal('EOPNOTSUPP');
    out.length = hex(min(length, runLastOf(area, iova) - iova + 1n));
    const uptr = optional(step.uptr);
    if (uptr === undefined) return;
    const page = this.world.process.pageAt(uptr / PAGE);
    out.match = page !== undefined && page.frame === frameOf(area.backing, byteAt(area, iova) / PAGE);
  }

  #unmap(step: TraceStep, out: Record<string, unknown>): void {
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    out.unmapped = step.length;
    const table = this.#table(step.ioas);
    const everything = iova === 0n && length === MAX;
    if (!everything && (iova === MAX || length === MAX)) throw new Refusal('EOVERFLOW');
    const bytes = everything ? table.unmapAll() : table.unmap(iova, length);
    if (this.#rules.reachedBy === 'function-calls') return;
    if (!everything && bytes === 0n) throw new Refusal('ENOENT');
    out.unmapped = hex(bytes);
  }

  #copy(step: TraceStep): bigint {
    const source = BigInt(step.src_iova!);
    const iova = optional(step.dst_iova);
    const length = BigInt(step.length!);
    if (source === MAX || iova === MAX || length === MAX) throw new Refusal('EOVERFLOW');
    if (step.prot === '') throw new Refusal('EINVAL');
    const from = this.#table(step.src);
    const to = this.#tables.get(step.dst!);
    if (to !== undefined) return to.copy(from, source, iova, length, step.prot!);
    // The source is looked at before the destination is looked up.
    const last = lastOf(source, length);
    from.walk(source, last, () => {});
    throw new Refusal('ENOENT');
  }

  #ranges(step: TraceStep, out: Record<string, unknown>): void {
    const table = this.#table(step.ioas);
    const ranges = table.ranges();
    const room = step.max ?? ranges.length;
    out.num_iovas = ranges.length;
    out.ranges = ranges.slice(0, room).map(pair);
    out.alignment = hex(table.alignment);
    if (ranges.length > room) throw new Refusal('EMSGSIZE');
  }

  #reserve(step: TraceStep): void {
    const start = BigInt(step.start!);
    const last = lastOf(start, BigInt(step.length!));
    this.#table(step.ioas).reserve(start, last, null);
  }

  #setRlimitMode(value: number): void {
    if (this.#limited) throw new Refusal('EPERM');
    if (this.#helpers || this.#tables.size > 0) throw new Refusal('EBUSY');
    if (value !== 0 && value !== 1) throw new Refusal('EINVAL');
    this.#rlimitMode = value;
  }

  #addDomain(step: TraceStep): void {
    this.#helpers = true;
    const table = this.#tables.get(step.ioas!);
    if (table === undefined) throw new Refusal('EINVAL');
    const domain = this.#newDomain(step);
    table.addDomain(domain);
    const nest = step.nest === true;
    this.#domains.set(step.domain!, { table, domain, nest, queues: [], slots: [], viommu: false });
  }

  #newDomain(step: TraceStep): NaiveDomain {
    if (this.#rules.testPageTables === 'entries') {
      if (step.huge) return naiveDomain(HUGE.pageSizes, HUGE.aperture, step.dirty, ENTRIES);
      return naiveDomain(ORDINARY, MOCK_APERTURE, step.dirty, ENTRIES);
    }
    const smallest = step.io_page === undefined ? MOCK_IO_PAGE : BigInt(step.io_page);
    const aperture =
      step.aperture === undefined
        ? MOCK_APERTURE
        : { start: BigInt(step.aperture[0]), last: BigInt(step.aperture[1]) };
    return naiveDomain(step.huge ? smallest | MOCK_HUGE_PAGE : smallest, aperture, step.dirty);
  }

  #checkMap(step: TraceStep): void {
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    const uptr = BigInt(step.uptr!);
    const object = this.#domains.get(step.domain!);
    if (object === undefined && this.#rules.testMapChecks === 'table-first') throw new Refusal('ENOENT');
    const ioPage = object === undefined ? MOCK_IO_PAGE : lowestBit(object.domain.pageSizes);
    if ([iova, length, uptr].some((value) => value % ioPage !== 0n)) throw new Refusal('EINVAL');
    if (uptr + length > MAX) throw new Refusal('EINVAL');
    if (object === undefined) throw new Refusal('ENOENT');
    for (let at = 0n; at < length; at += ioPage) {
      const user = uptr + at;
      if (!this.world.process.accessible(user / PAGE, false)) throw new Refusal('EFAULT');
      const physical = this.world.process.pageAt(user / PAGE)!.frame * PAGE + (user % PAGE);
      if (object.table.translate(BigInt.asUintN(64, iova + at)) !== physical) throw new Refusal('EINVAL');
    }
  }

  #pagePins(uptr: bigint, length: bigint): [number, number][] {
    const counts = this.world.pins();
    const runs: [number, number][] = [];
    for (let page = uptr / PAGE; page <= (uptr + length - 1n) / PAGE; page++) {
      if (!this.world.process.accessible(page, false)) throw new Refusal('EFAULT');
      const pins = countedPins(counts, this.world.process.pageAt(page)!);
      const run = runs.at(-1);
      if (run?.[1] === pins) run[0] += 1;
      else runs.push([1, pins]);
    }
    return runs;
  }

  #checkRefs(uptr: bigint, length: bigint, refs: number): void {
    if (uptr % PAGE !== 0n || length % PAGE !== 0n || uptr + length > MAX) throw new Refusal('EINVAL');
    const counts = this.world.pins();
    for (let page = uptr / PAGE; page < (uptr + length) / PAGE; page++) {
      if (!this.world.process.accessible(page, false)) throw new Refusal('EFAULT');
      const behind = this.world.process.pageAt(page)!;
      if (!behind.huge && countedPins(counts, behind) !== refs) throw new Refusal('EIO');
    }
  }

  #memoryHash(uptr: bigint, length: bigint): string {
    const bytes = Uint8Array.from({ length: Number(length) }, (_, at) => {
      const address = uptr + BigInt(at);
      return this.world.process.page(address / PAGE)[Number(address % PAGE)]!;
    });
    return fnv(bytes);
  }

  #pin(step: TraceStep): void {
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    if (length > LARGEST_BUFFER) throw new Refusal('ENOMEM');
    const access = this.#access(step.access);
    if (!access.needsPin) throw new Refusal('EOPNOTSUPP');
    const pin = access.pin(iova, length, step.write!);
    const uptr = optional(step.uptr);
    if (uptr !== undefined) {
      let page = BigInt.asUintN(64, uptr - (iova % PAGE)) / PAGE;
      for (const pinned of NaiveAccess.pages(pin)) {
        const memory = this.world.process.accessible(page, false);
        if (!memory || pinned !== this.world.process.pageAt(page)) {
          access.unpin(pin);
          throw new Refusal(memory ? 'EBADE' : 'EFAULT');
        }
        page += 1n;
      }
    }
    this.#items.set(step.item!, pin);
  }

  #rw(step: TraceStep, out: Record<string, unknown>): void {
    const length = BigInt(step.length!);
    if (length > LARGEST_BUFFER) throw new Refusal('ENOMEM');
    const access = this.#access(step.access);
    const seed = step.seed ?? 0;
    const buffer = step.write
      ? Uint8Array.from({ length: Number(length) }, (_, at) => Math.imul(seed + at, 0x9e3779b1) >>> 24)
      : new Uint8Array(Number(length));
    access.rw(BigInt(step.iova!), buffer, step.write!, step.slow!);
    if (!step.write) out.hash = fnv(buffer);
  }

  #markDirty(step: TraceStep): number {
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    const pageSize = BigInt(step.page_size!);
    if (pageSize === 0n || length === 0n || iova % pageSize !== 0n || length % pageSize !== 0n) {
      throw new Refusal('EINVAL');
    }
    if (length / pageSize > MOST_DIRTY_BITS) throw new Refusal('EOVERFLOW');
    const { table, domain } = this.#domain(step.domain);
    if (!domain.dirty?.tracking) throw new Refusal('EINVAL');
    const bits = Buffer.from(step.bitmap!, 'hex');
    let marked = 0;
    for (let bit = 0; BigInt(bit) < length / pageSize; bit++) {
      if (((bits[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0) continue;
      const found = table.markDirty(domain, BigInt.asUintN(64, iova + BigInt(bit) * pageSize));
      if (found || this.#rules.testDirtyCounts === 'all') marked += 1;
    }
    return marked;
  }

  #readDirty(step: TraceStep): string {
    const { table, domain } = this.#domain(step.domain);
    const bits = table.readDirty(
      domain,
      BigInt(step.iova!),
      BigInt(step.length!),
      BigInt(step.page_size!),
      step.no_clear!,
    );
    const bitmap: number[] = [];
    for (const bit of bits) {
      const byte = Number(bit / 8n);
      while (bitmap.length <= byte) bitmap.push(0);
      bitmap[byte]! |= 1 << Number(bit % 8n);
    }
    const asked = Number(BigInt(step.length!) / BigInt(step.page_size!) + 7n) / 8;
    const wanted = this.#rules.dirtyPageAcross === 'from-start' ? Math.floor(asked) : bitmap.length;
    return Buffer.from(bitmap.slice(0, wanted))
      .toString('hex')
      .replace(/(00)+$/, '');
  }

  #compatTable(): NaiveTable {
    const table = this.#tables.get(this.#compat ?? '');
    if (table === undefined) throw new Refusal('ENODEV');
    return table;
  }

  #vfio(step: TraceStep, out: Record<string, unknown>): void {
    switch (step.op) {
      case 'vfio_ioas_set':
        this.#table(step.ioas);
        this.#compat = step.ioas;
        break;
      case 'vfio_ioas_get':
        this.#compatTable();
        out.ioas = this.#compat;
        break;
      case 'vfio_ioas_clear':
        this.#compat = undefined;
        break;
      case 'vfio_set_iommu': {
        if (step.type !== 1 && step.type !== 3) throw new Refusal('EINVAL');
        const table = this.#compatTable();
        if (step.type === 1) table.setLargePages(false);
        break;
      }
      case 'vfio_check_extension':
        out.value = this.#extension(step.extension!);
        break;
      case 'vfio_map':
        this.#compatTable().map(
          BigInt(step.iova!),
          BigInt(step.uptr!),
          BigInt(step.length!),
          step.prot!,
          this.#charged,
        );
        break;
      case 'vfio_unmap':
        this.#vfioUnmap(step, out);
        break;
      case 'vfio_info': {
        const table = this.#compatTable();
        let sizes = MAX;
        for (const domain of table.domains) sizes &= domain.pageSizes;
        if (sizes % PAGE !== 0n) sizes = (sizes - (sizes % PAGE)) | PAGE;
        out.page_sizes = hex(max(sizes, table.alignment));
        out.ranges = table.ranges().map(pair);
        break;
      }
      default:
        throw new Error(`unknown operation ${step.op}`);
    }
  }

  #extension(extension: number): number {
    if ([1, 3, 9].includes(extension)) return 1;
    if (extension === 8) return this.#noIommu > 0 ? 1 : 0;
    // Coherency: the mock page tables do not enforce it, so only a table without any counts as coherent.
    if (extension === 4) return this.#compatTable().domains.length === 0 ? 1 : 0;
    return 0;
  }

  #vfioUnmap(step: TraceStep, out: Record<string, unknown>): void {
    const iova = BigInt(step.iova!);
    const length = BigInt(step.length!);
    out.unmapped = step.length;
    const table = this.#compatTable();
    if (step.all) {
      if (iova !== 0n || length !== 0n) throw new Refusal('EINVAL');
      out.unmapped = hex(table.unmapAll());
      return;
    }
    if (!table.largePages) {
      table.cut([BigInt.asUintN(64, iova + length - 1n)]);
      if (iova !== 0n) table.cut([iova - 1n]);
    }
    try {
      out.unmapped = hex(table.unmap(iova, length));
    } catch (error) {
      if (error instanceof Refusal) out.unmapped = hex(error.bytes ?? 0n);
      throw error;
    }
  }
}

/** What `page_pins` tells: of a huge page nothing. */
function countedPins(pins: ReadonlyMap<NaivePage, number>, page: NaivePage): number {
  return page.huge ? 0 : (pins.get(page) ?? 0);
}

function fileKindOf(kind: string): NaiveFileKind {
  if (kind === 'memfd-huge') return 'huge';
  return kind === 'null' || kind === 'dir' ? 'other' : 'memory';
}

function optional(value: string | null | undefined): bigint | undefined {
  return value === null || value === undefined ? undefined : BigInt(value);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function pair(range: Range): [string, string] {
  return [hex(range.start), hex(range.last)];
}

/** The byte that process memory holds at the start of a trace. */
function traceByte(address: bigint): number {
  const page = Number(BigInt.asUintN(32, address >> 12n));
  return (Math.imul(page, 0x9e3779b1) + Math.imul(Number(address & 4095n), 0x85ebca6b)) >>> 24;
}

/** FNV-1a, 32 bits. */
function fnv(bytes: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return `0x${hash.toString(16).padStart(8, '0')}`;
}

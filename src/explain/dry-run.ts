/**
 * A copy of what a call can see, on which the call itself is run.
 *
 * The functions that run are the table's own: a dry run has no rules that could differ from them. Copied are the
 * areas, the reservations and the bookkeeping of pages and locked memory; user memory and domains are stood in for
 * (`dry-memory.ts`), and accesses that are asked to let go do so.
 *
 * Nothing of the real table is locked or waited for: a dry run finds things as they are at this moment, with other
 * calls in progress stopped where they are.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { AreaInTheWay } from '../errors.js';
import { IntervalTree } from '../interval-tree.js';
import { LockedMemory } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { DmaBufEntries } from '../pages/dma-buf-entries.js';
import { addToDomainsTree } from '../pages/domains-tree.js';
import { IoptPages } from '../pages/iopt-pages.js';
import type { MappedArea } from '../pages/mapped-area.js';
import { PinnedStore } from '../pages/pinned-store.js';
import { describeArea, IoptArea } from '../table/iopt-area.js';
import { IovaSpace } from '../table/iova-space.js';
import type { AttachedAccess, TableState } from '../table/table-state.js';
import { type Interval, intervalOf, split } from '../u64.js';
import { DryDomain, DryMemory, type MissingPages } from './dry-memory.js';

/** What a dry run takes for granted. */
export interface DryRunOptions {
  /** Locked memory has no limit. */
  readonly unlimited?: boolean;
  /** Missing user memory is there; what is missing is noted. */
  readonly lenient?: boolean;
}

/** Tables, pages, memory and domains for one dry run. */
export class DryRun {
  /** Areas whose accesses were asked to let go. */
  readonly letGo: AreaInTheWay[] = [];
  /** User pages, of any memory, that are taken for memory whatever the real one says. */
  readonly provided: MissingPages[] = [];
  readonly #options: DryRunOptions;
  readonly #spaces = new Map<TableState, IovaSpace>();
  readonly #areas = new Map<MappedArea, IoptArea>();
  readonly #pages = new Map<IoptPages, IoptPages>();
  readonly #memories = new Map<UserMemory, DryMemory>();
  readonly #accounts = new Map<LockedMemory, LockedMemory>();
  readonly #domains = new Map<IommuDomain, DryDomain>();
  /** Limits that are at least so many pages. */
  readonly #raised = { user: 0, process: 0 };

  constructor(options: DryRunOptions = {}) {
    this.#options = options;
  }

  /** The copy of a table, with at least the areas that intersect `window`. */
  space(table: TableState, window: Interval): IovaSpace {
    const space = this.#spaces.get(table) ?? this.#newSpace(table);
    const { areas } = space.state;
    for (let node = table.areas.first(window); node !== undefined; node = table.areas.nextIn(node, window)) {
      const area = node.value;
      const copy = this.#area(area);
      if (copy.node !== undefined) continue;
      copy.node = areas.insert(copy, copy);
      copy.pages = area.pages && this.#pagesOf(area.pages);
      copy.pins = area.pins;
      copy.locks = area.locks;
      copy.preventAccess = area.preventAccess;
    }
    return space;
  }

  #newSpace(table: TableState): IovaSpace {
    const space = new IovaSpace(table.profile);
    this.#spaces.set(table, space);
    const { state } = space;
    state.alignment = table.alignment;
    state.largePages = table.largePages;
    state.allowed = table.allowed;
    for (let node = table.reserved.head(); node !== undefined; node = table.reserved.next(node)) {
      state.reserved.insert(node, node.value);
    }
    for (const domain of table.domains) state.domains.push(this.domain(domain));
    for (const access of table.accesses) state.accesses.push(access && this.#access(state, access));
    return space;
  }

  /** An access that lets go of everything it is asked to. */
  #access(state: TableState, { iovaAlignment }: AttachedAccess): AttachedAccess {
    return {
      iovaAlignment,
      notifyUnmap: ({ iova, length }) => {
        const range = intervalOf(split(iova), split(length))!;
        const area = state.areas.first(range)!.value;
        if (area.pins > 0) this.letGo.push(describeArea(area));
        area.pins = 0;
      },
    };
  }

  #area(area: MappedArea): IoptArea {
    const known = this.#areas.get(area);
    if (known !== undefined) return known;
    const { index, lastIndex, pageOffset, prot, storageDomain } = area;
    const copy = new IoptArea(area, index, lastIndex, pageOffset, prot);
    copy.storageDomain = storageDomain && this.domain(storageDomain);
    this.#areas.set(area, copy);
    return copy;
  }

  /** The copy of shared pages, with all that is pinned of them and where. */
  #pagesOf(pages: IoptPages): IoptPages {
    const known = this.#pages.get(pages);
    if (known !== undefined) return known;
    const { memory, file, dmaBuf, firstPage, npages, writable, mode } = pages;
    const copy = new IoptPages(memory && this.memory(memory), firstPage, npages, writable, mode);
    if (file !== undefined) copy.file = { file: file.file, owner: file.owner && this.memory(file.owner) };
    if (dmaBuf !== undefined) copy.dmaBuf = new DmaBufEntries(dmaBuf.buffer);
    this.#pages.set(pages, copy);
    copy.references = pages.references;
    copy.npinned = pages.npinned;
    copy.lastNpinned = pages.lastNpinned;
    copy.accessTree = copyTree(pages.accessTree, ({ users }) => ({ users }));
    const tree = pages.domainsTree;
    for (let node = tree?.head(); node !== undefined; node = tree?.next(node)) {
      addToDomainsTree(copy, this.#area(node.value));
    }
    if (pages.store !== undefined) {
      copy.store = new PinnedStore();
      for (const { first, frames } of pages.store.segments()) copy.store.insert(first, frames);
    }
    return copy;
  }

  /** What stands in for user memory. */
  memory(memory: UserMemory): DryMemory {
    const known = this.#memories.get(memory);
    if (known !== undefined) return known;
    const { locked } = memory;
    const dry = new DryMemory(memory, {
      locked: locked && { user: this.account(locked.user), mm: this.account(locked.mm) },
      provided: this.provided,
      lenient: this.#options.lenient ?? false,
    });
    this.#memories.set(memory, dry);
    return dry;
  }

  /** The copy of a locked-memory counter. */
  account(account: LockedMemory): LockedMemory {
    const known = this.#accounts.get(account);
    if (known !== undefined) return known;
    const limit = this.#options.unlimited ? Number.POSITIVE_INFINITY : account.limitPages;
    const copy = new LockedMemory(account.of, Math.max(limit, this.#raised[account.of]));
    copy.lockedPages = account.lockedPages;
    this.#accounts.set(account, copy);
    return copy;
  }

  /** Raises the limits of all counters of a kind to at least so many pages. */
  raiseLimit(of: 'user' | 'process', pages: number): void {
    this.#raised[of] = pages;
    for (const copy of this.#accounts.values()) {
      if (copy.of === of) copy.limitPages = Math.max(copy.limitPages, pages);
    }
  }

  /** What stands in for a domain. */
  domain(domain: IommuDomain): DryDomain {
    const known = this.#domains.get(domain) ?? new DryDomain(domain);
    this.#domains.set(domain, known);
    return known;
  }

  /** The counters that were looked at, with their copies. */
  get accounts(): ReadonlyMap<LockedMemory, LockedMemory> {
    return this.#accounts;
  }

  /** The memories that were asked, with what stood in for them. */
  get memories(): ReadonlyMap<UserMemory, DryMemory> {
    return this.#memories;
  }

  /** Pages that were pinned by the calls that were run. */
  get pinnedPages(): number {
    let pages = 0;
    for (const memory of this.#memories.values()) pages += memory.pinnedPages;
    return pages;
  }
}

function copyTree<From, To>(
  tree: IntervalTree<From> | undefined,
  copyOf: (value: From) => To,
): IntervalTree<To> | undefined {
  if (tree === undefined) return undefined;
  const copy = new IntervalTree<To>();
  for (let node = tree.head(); node !== undefined; node = tree.next(node)) {
    copy.insert(node, copyOf(node.value));
  }
  return copy;
}

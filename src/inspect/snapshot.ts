/**
 * A table as plain data, for people, pictures and comparisons.
 */

import type { IoptPages } from '../pages/iopt-pages.js';
import { type Protection, protectionName } from '../protection.js';
import type { Profile } from '../rules.js';
import { describeOwner } from '../table/reservations.js';
import type { TableState } from '../table/table-state.js';
import { hex, type Interval, lastOf } from '../u64.js';

/** A closed range in hex. */
export interface RangeSnapshot {
  readonly start: string;
  readonly last: string;
}

/** An area. */
export interface AreaSnapshot {
  readonly iova: string;
  /** Last IOVA, inclusive. */
  readonly last: string;
  /** What it is mapped from; `null` while the area is being set up or torn down. */
  readonly source: PagesSource | null;
  /** User address of the first byte, or its offset in the file or dma-buf; `null` as for `source`. */
  readonly uptr: string | null;
  readonly prot: Protection;
  /** Number of the pages in `pages`; `null` as for `uptr`. */
  readonly pages: number | null;
  /** Pins that accesses hold through the area. */
  readonly pins: number;
  /** Whether an unmap has asked accesses to let go of it. */
  readonly preventAccess: boolean;
  /** Number of the domain that the frames are read back from, in `domains`. */
  readonly storageDomain: number | null;
}

/** What pages are of: memory of a process, a file, or a dma-buf. */
export type PagesSource = 'user' | 'file' | 'dma-buf';

/** Pages that one or several areas show. */
export interface PagesSnapshot {
  readonly id: number;
  readonly source: PagesSource;
  /** User address of the first page, or its offset in the file or dma-buf. */
  readonly uptr: string;
  /** Whether the exporter of a dma-buf has taken back what is mapped: no domain has it any more. */
  readonly revoked: boolean;
  readonly npages: number;
  readonly writable: boolean;
  /** How many of them are pinned. */
  readonly pinned: number;
  /** Areas of all tables that show them, and calls that hold them. */
  readonly references: number;
}

/** A domain. */
export interface DomainSnapshot {
  readonly pageSizes: readonly string[];
  readonly aperture: RangeSnapshot;
}

/** A whole table. */
export interface TableSnapshot {
  readonly profile: Profile;
  readonly alignment: number;
  readonly largePages: boolean;
  readonly areas: readonly AreaSnapshot[];
  readonly reserved: readonly (RangeSnapshot & { readonly owner: string })[];
  readonly allowed: readonly RangeSnapshot[];
  readonly domains: readonly DomainSnapshot[];
  readonly pages: readonly PagesSnapshot[];
  /** Number of attached accesses. */
  readonly accesses: number;
}

/** Describes a table. Takes no lock: it is what a debugger would see at this moment. */
export function snapshotTable(table: TableState): TableSnapshot {
  const ids = new Map<IoptPages, number>();
  const areas: AreaSnapshot[] = [];
  for (const area of table.areas) {
    const { pages, storageDomain } = area;
    if (pages !== undefined && !ids.has(pages)) ids.set(pages, ids.size);
    areas.push({
      iova: hex(area),
      last: hex(lastOf(area)),
      source: pages === undefined ? null : sourceOf(pages),
      uptr: pages === undefined ? null : hex(pages.addressOf(area.index, area.pageOffset)),
      prot: protectionName(area.prot),
      pages: pages === undefined ? null : ids.get(pages)!,
      pins: area.pins,
      preventAccess: area.preventAccess,
      storageDomain: storageDomain === undefined ? null : table.domains.indexOf(storageDomain),
    });
  }
  const reserved: (RangeSnapshot & { owner: string })[] = [];
  for (let node = table.reserved.head(); node !== undefined; node = table.reserved.next(node)) {
    reserved.push({ ...rangeSnapshot(node), owner: describeOwner(node.value.owner) });
  }
  const allowed: RangeSnapshot[] = [];
  for (let node = table.allowed.head(); node !== undefined; node = table.allowed.next(node)) {
    allowed.push(rangeSnapshot(node));
  }
  return {
    profile: table.profile,
    alignment: table.alignment,
    largePages: table.largePages,
    areas,
    reserved,
    allowed,
    domains: table.domains.map((domain) => {
      const { pageSizeBitmap, aperture } = table.geometries.get(domain)!;
      return {
        pageSizes: pageSizes(pageSizeBitmap),
        aperture: { start: hex(aperture.start), last: hex(aperture.last) },
      };
    }),
    pages: [...ids].map(([pages, id]) => ({
      id,
      source: sourceOf(pages),
      uptr: hex({ page: pages.firstPage, offset: 0 }),
      revoked: pages.dmaBuf?.revoked === true,
      npages: pages.npages,
      writable: pages.writable,
      pinned: pages.npinned,
      references: pages.references,
    })),
    accesses: table.accesses.filter((access) => access !== undefined).length,
  };
}

/** What pages are of. */
export function sourceOf(pages: IoptPages): PagesSource {
  const { file, dmaBuf } = pages;
  if (dmaBuf !== undefined) return 'dma-buf';
  return file === undefined ? 'user' : 'file';
}

function rangeSnapshot(range: Interval): RangeSnapshot {
  return { start: hex(range), last: hex(lastOf(range)) };
}

function pageSizes(bitmap: bigint): string[] {
  const sizes: string[] = [];
  for (let rest = bitmap; rest > 0n; rest &= rest - 1n) sizes.push(hex(rest & -rest));
  return sizes;
}

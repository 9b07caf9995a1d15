/** Parts of snapshots for tests. */
import type { AreaSnapshot, PagesSnapshot, TableSnapshot } from '../../src/inspect/snapshot.js';

/** A table without anything in it. */
export const EMPTY: TableSnapshot = {
  profile: 'linux-6.12',
  alignment: 1,
  largePages: true,
  areas: [],
  reserved: [],
  allowed: [],
  domains: [],
  pages: [],
  accesses: 0,
};

/** A page. */
export const AREA: AreaSnapshot = {
  iova: '0x1000',
  last: '0x1fff',
  source: 'user',
  uptr: '0x7f0000000000',
  prot: 'rw',
  pages: 0,
  pins: 0,
  preventAccess: false,
  storageDomain: null,
};

/** The pages of `AREA`. */
export const PAGES: PagesSnapshot = {
  id: 0,
  source: 'user',
  uptr: '0x7f0000000000',
  npages: 1,
  writable: true,
  pinned: 0,
  references: 1,
  revoked: false,
};

/**
 * How often each kind of operation comes in random tests.
 */
import type { Mix } from './arbitrary-ops.js';

/** Operations that every kernel has. */
export const MAPPING: Mix = {
  map: 60,
  copy: 20,
  unmap: 16,
  unmapAll: 1,
  addDomain: 8,
  removeDomain: 6,
  reserve: 3,
  unreserve: 3,
  regions: 3,
};
/** Ranges held for use. */
export const HOLDS: Mix = { hold: 8, release: 5 };
/** All that accesses do. */
export const ACCESSES: Mix = {
  attach: 8,
  replace: 3,
  detach: 2,
  ignore: 3,
  pin: 30,
  unpin: 12,
  read: 8,
  write: 8,
  ...HOLDS,
};
/** All operations that need no fault of memory or domain. */
export const EVERYTHING: Mix = {
  ...MAPPING,
  ...ACCESSES,
  allow: 3,
  iovaRanges: 2,
  largePages: 6,
  cut: 10,
  trackDirty: 6,
  markDirty: 10,
  readDirty: 8,
};

/** Mapping, with much dirty tracking. */
export const DIRTY: Mix = {
  ...MAPPING,
  addDomain: 20,
  trackDirty: 20,
  markDirty: 60,
  readDirty: 40,
  cut: 5,
  largePages: 5,
};

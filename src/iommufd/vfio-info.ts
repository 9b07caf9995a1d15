/** VFIO IOMMU_GET_INFO: page sizes and the chain of capabilities. */
import { type Abortable, type Operation, start } from '../operation.js';
import { MAX_U64, PAGE_SIZE } from '../u64.js';
import type { Context } from './context.js';
import { holding } from './object-table.js';
import { compat } from './vfio.js';

/** One link of the capability chain. */
export type VfioCapability =
  /** How many mappings can be made still. */
  | {
      readonly id: 3;
      readonly version: 1;
      /** Offset of the capability from the start of the answer, in bytes. */
      readonly offset: number;
      /** Offset of the next capability, 0 after the last. */
      readonly next: number;
      /** Mappings that remain; the address space has no limit of its own. */
      readonly available: number;
    }
  /** The IOVA that is not reserved. */
  | {
      readonly id: 1;
      readonly version: 1;
      readonly offset: number;
      readonly next: number;
      /** Ascending, both ends included. */
      readonly ranges: readonly { readonly start: bigint; readonly last: bigint }[];
    };

/** What IOMMU_GET_INFO answers. */
export interface VfioInfo {
  /** 1: `pageSizes` is valid; 2: there are capabilities. */
  readonly flags: number;
  /** Bit mask of the page sizes in bytes that mappings can have. */
  readonly pageSizes: bigint;
  /** The usable IOVA, as in the capability. */
  readonly ranges: readonly { readonly start: bigint; readonly last: bigint }[];
  /** The chain of capabilities in order. */
  readonly capabilities: readonly VfioCapability[];
  /** Bytes that the whole answer takes (`argsz`). */
  readonly size: number;
}

const FLAGS = 3;
const HEADER_SIZE = 24;
const AVAILABLE_SIZE = 16;
const RANGES_HEADER_SIZE = 16;
const RANGE_SIZE = 16;
const UNLIMITED = 0xffff_ffff;

/**
 * VFIO IOMMU_GET_INFO.
 *
 * @throws ENODEV without a compatibility address space.
 *
 * @internal
 */
export function vfioInfo(context: Context, options?: Abortable): Promise<VfioInfo> {
  return start(info(context), options);
}

function* info(context: Context): Operation<VfioInfo> {
  const ioas = compat(context);
  const { ranges, alignment } = yield* holding([ioas], ioas.table.listingIovaRanges());
  const rangesOffset = HEADER_SIZE + AVAILABLE_SIZE;
  return {
    flags: FLAGS,
    pageSizes: pageSizes(
      [...ioas.table.state.geometries.values()].map(({ pageSizeBitmap }) => pageSizeBitmap),
      BigInt(alignment),
    ),
    ranges,
    capabilities: [
      { id: 3, version: 1, offset: HEADER_SIZE, next: rangesOffset, available: UNLIMITED },
      { id: 1, version: 1, offset: rangesOffset, next: 0, ranges },
    ],
    size: rangesOffset + RANGES_HEADER_SIZE + RANGE_SIZE * ranges.length,
  };
}

/** The page sizes that all domains have. VFIO users know no page below 4096 bytes: smaller ones count as 4096. */
function pageSizes(bitmaps: readonly bigint[], alignment: bigint): bigint {
  const belowPage = BigInt(PAGE_SIZE) - 1n;
  let common = bitmaps.reduce((sizes, bitmap) => sizes & bitmap, MAX_U64);
  if (common & belowPage) common = (common & ~belowPage) | BigInt(PAGE_SIZE);
  return common > alignment ? common : alignment;
}

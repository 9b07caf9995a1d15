/** VFIO type 1 calls on a context. They act on the compatibility address space, which VFIO_IOAS names. */

import { readValue } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import type { Operation } from '../operation.js';
import { protectionName } from '../protection.js';
import { MAX_U64, type U64Input } from '../u64.js';
import type { Caller } from './caller.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';
import { holding } from './object-table.js';

/** What a VFIO_IOAS command does. */
export const VFIO_IOAS_OP = Object.freeze({ GET: 0, SET: 1, CLEAR: 2 } as const);

/** Types of a VFIO container, and numbers of CHECK_EXTENSION. */
export const VFIO_EXTENSION = Object.freeze({
  TYPE1_IOMMU: 1,
  TYPE1V2_IOMMU: 3,
  /** Whether all accesses of devices are cache coherent. */
  DMA_CC_IOMMU: 4,
  /** Whether devices that have no IOMMU can be used. */
  NOIOMMU_IOMMU: 8,
  /** Whether UNMAP_DMA knows the ALL flag. */
  UNMAP_ALL: 9,
} as const);

/** Flags of UNMAP_DMA. */
export const VFIO_UNMAP = Object.freeze({
  /** Unmap everything. */
  ALL: 2,
} as const);

/** Flags of MAP_DMA, which are the bits of a protection. */
const MAP_READ_WRITE = 3;

/**
 * VFIO_IOAS: reads, sets or clears the compatibility address space, and gives its id (0 after CLEAR).
 *
 * @throws EOPNOTSUPP for an unknown operation, ENODEV if there is none to read, ENOENT if there is no such address
 * space to set.
 *
 * @internal
 */
export async function vfioIoas(
  context: Context,
  fields: { readonly op: number; readonly ioasId: number },
): Promise<number> {
  switch (fields.op) {
    case VFIO_IOAS_OP.GET:
      return compat(context).id;
    case VFIO_IOAS_OP.SET:
      context.compat = context.objects.get(fields.ioasId, Ioas);
      return fields.ioasId;
    case VFIO_IOAS_OP.CLEAR:
      context.compat = undefined;
      return 0;
    default:
      throw refuse('EOPNOTSUPP', 'unsupported', `operation ${fields.op} is neither get, set nor clear`);
  }
}

/**
 * VFIO CHECK_EXTENSION: 1 if something is supported, else 0.
 *
 * @throws ENODEV if the answer depends on the compatibility address space and there is none.
 *
 * @internal
 */
export async function vfioCheckExtension(context: Context, extension: number): Promise<number> {
  switch (extension) {
    case VFIO_EXTENSION.TYPE1_IOMMU:
    case VFIO_EXTENSION.TYPE1V2_IOMMU:
    case VFIO_EXTENSION.UNMAP_ALL:
      return 1;
    case VFIO_EXTENSION.NOIOMMU_IOMMU:
      return context.noIommu ? 1 : 0;
    case VFIO_EXTENSION.DMA_CC_IOMMU:
      return [...compat(context).hwpts].every((hwpt) => hwpt.traits.maker.enforcesCoherency === true) ? 1 : 0;
    default:
      return 0;
  }
}

/**
 * VFIO SET_IOMMU: chooses type 1, which may split mappings and therefore disables large pages, or type 1 v2, which
 * changes nothing.
 *
 * @throws EINVAL for another type, ENODEV without a compatibility address space, and for type 1 as
 * `IoPagetable.setLargePages`.
 *
 * @internal
 */
export const vfioSetIommu = command(function* (context: Context, type: number): Operation<void> {
  if (type !== VFIO_EXTENSION.TYPE1_IOMMU && type !== VFIO_EXTENSION.TYPE1V2_IOMMU) {
    throw refuse('EINVAL', 'argument', `${type} is not a type of IOMMU that is supported`);
  }
  const ioas = compat(context);
  if (type === VFIO_EXTENSION.TYPE1_IOMMU) yield* holding([ioas], ioas.table.settingLargePages(false));
});

/** The fields of VFIO MAP_DMA. */
export interface VfioMapFields {
  /** 1 devices may read, 2 devices may write; both, or neither. */
  readonly flags: number;
  readonly vaddr: U64Input;
  readonly iova: U64Input;
  readonly size: U64Input;
}

/**
 * VFIO MAP_DMA: maps memory of the caller at a fixed IOVA.
 *
 * @throws EINVAL for unknown flags, ENODEV without a compatibility address space, and as `IoPagetable.map`.
 *
 * @internal
 */
export const vfioMap = command(function* (
  context: Context,
  fields: VfioMapFields,
  caller?: Caller,
): Operation<void> {
  const { flags, vaddr, iova, size } = fields;
  if (flags & ~MAP_READ_WRITE) throw refuse('EINVAL', 'argument', `flags ${flags} are not all known`);
  const ioas = compat(context);
  const request = {
    iova,
    uptr: vaddr,
    length: size,
    prot: protectionName(flags),
    accounting: context.accountingOf(caller),
    memory: caller?.memory,
  };
  yield* holding([ioas], ioas.table.mapping(request));
});

/** The fields of VFIO UNMAP_DMA. */
export interface VfioUnmapFields {
  readonly flags: number;
  readonly iova: U64Input;
  readonly size: U64Input;
}

/**
 * VFIO UNMAP_DMA: unmaps a range, or everything, and gives the bytes unmapped. Nothing mapped there is a success.
 * While large pages are disabled (type 1), areas are split where the range begins and ends.
 *
 * @throws EINVAL for unknown flags, ENODEV without a compatibility address space, EINVAL for ALL with a range, as
 * `IoPagetable.cutIova` and `IoPagetable.unmap`. `unmapped` of the error has the bytes that went if the unmap itself
 * was reached, else it is undefined; splits stay in any case.
 *
 * @internal
 */
export const vfioUnmap = command(function* (context: Context, fields: VfioUnmapFields): Operation<bigint> {
  const { flags } = fields;
  if (flags & ~VFIO_UNMAP.ALL) throw refuse('EINVAL', 'argument', `flags ${flags} are not all known`);
  const ioas = compat(context);
  const iova = readValue(fields.iova, 'iova');
  const size = readValue(fields.size, 'size');
  return yield* holding([ioas], unmap(ioas, flags === VFIO_UNMAP.ALL, iova, size));
});

function* unmap({ table }: Ioas, all: boolean, iova: bigint, size: bigint): Operation<bigint> {
  if (all) {
    if (iova !== 0n || size !== 0n) {
      throw refuse('EINVAL', 'argument', 'to unmap everything, iova and size must be 0');
    }
    return yield* reaching(table.unmappingAll());
  }
  if (!table.largePages) {
    const last = (iova + size - 1n) & MAX_U64;
    yield* table.cuttingIova(iova === 0n ? [last] : [last, iova - 1n]);
  }
  return yield* reaching(table.unmapping(iova, size));
}

/** An unmap that was reached tells how many bytes went, also where its arguments were refused. */
function* reaching(unmapping: Operation<bigint>): Operation<bigint> {
  try {
    return yield* unmapping;
  } catch (error) {
    if (error instanceof IommuError) error.unmapped ??= 0n;
    throw error;
  }
}

/**
 * The compatibility address space.
 *
 * @throws ENODEV if there is none.
 *
 * @internal
 */
export function compat(context: Context): Ioas {
  if (context.compat === undefined) {
    throw refuse('ENODEV', 'state', 'no address space has been chosen for VFIO calls');
  }
  return context.compat;
}

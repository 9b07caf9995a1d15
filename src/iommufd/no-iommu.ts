/** Devices that no IOMMU stands before: their drivers ask where memory is, and tell the device physical addresses. */
import { checkObject, invalidType, readU64 } from '../arguments.js';
import { RadixDomain } from '../domain/radix-domain.js';
import { refuse } from '../errors.js';
import type { Operation } from '../operation.js';
import type { PhysicalRange } from '../table/contiguous.js';
import { isLargest, join, type U64Input } from '../u64.js';
import type { Caller } from './caller.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';
import { refuseFlags } from './ioas-commands.js';
import type { IommuDevice } from './iommu-device.js';
import { holding } from './object-table.js';

/** Page sizes that the table of such devices says it has. */
const PAGE_SIZES = 0xf_ff7f_ffff_f000n;

/** A page table that no hardware reads. */
class NoIommuDomain extends RadixDomain {
  override readonly pageSizeBitmap = PAGE_SIZES;
}

/**
 * A device that has no IOMMU, as VFIO hands it out in its "noiommu" mode. Its page table, which all such devices of an
 * address space share, pins what is mapped, and is there to be asked: `Iommufd.ioasNoiommuGetPa`. Nothing is reserved in
 * it, and nothing stops the device from reaching other memory.
 *
 * Only an `Iommufd` with the `noIommu` option takes it.
 */
export class NoIommuDevice implements IommuDevice {
  readonly name: string;

  /** @param options - `name`: its name in errors; default `noiommu` */
  constructor(options: { readonly name?: string | undefined } = {}) {
    checkObject(options, 'options');
    const { name = 'noiommu' } = options;
    if (typeof name !== 'string') throw invalidType(name, 'name', 'a string');
    this.name = name;
  }

  createDomain(): RadixDomain {
    return new NoIommuDomain();
  }
}

/**
 * Refuses to bind a device without IOMMU where that is not possible.
 *
 * @throws EOPNOTSUPP if the kernel was built without such devices, EPERM without CAP_SYS_RAWIO.
 *
 * @internal
 */
export function checkNoIommu(context: Context, caller: Caller | undefined): void {
  if (!context.noIommu) {
    throw refuse('EOPNOTSUPP', 'unsupported', 'the iommufd was opened without devices that have no IOMMU');
  }
  if (!context.capable(caller, 'CAP_SYS_RAWIO')) {
    throw refuse('EPERM', 'state', 'the caller lacks CAP_SYS_RAWIO');
  }
}

/** The fields of IOAS_NOIOMMU_GET_PA. */
export interface NoIommuGetPaFields {
  readonly flags: number;
  readonly reserved: number;
  readonly ioasId: number;
  readonly iova: U64Input;
  /** Bytes that are asked for. */
  readonly length: U64Input;
}

/**
 * IOAS_NOIOMMU_GET_PA: the physical address behind an IOVA, and how many bytes from there on are consecutive.
 *
 * @throws EOPNOTSUPP if the kernel was built without such devices, EPERM without CAP_SYS_RAWIO, EOPNOTSUPP for flags or
 * if the reserved field is not 0, EINVAL for a length of 0, EOVERFLOW if `iova` is 2^64 − 1, ENOENT if there is no such
 * address space or nothing is mapped there, EINVAL if that is a dma-buf that has been taken back, EOPNOTSUPP if the first
 * page table of the address space is not one of devices without IOMMU.
 *
 * @internal
 */
export const noIommuGetPa = command(function* (
  context: Context,
  fields: NoIommuGetPaFields,
  caller?: Caller,
): Operation<PhysicalRange> {
  const { flags, reserved, ioasId } = fields;
  checkNoIommu(context, caller);
  refuseFlags(flags, 0);
  if (reserved !== 0) throw refuse('EOPNOTSUPP', 'unsupported', 'the reserved field is not zero');
  const iova = readU64(fields.iova, 'iova');
  const length = readU64(fields.length, 'length');
  const most = join(length.page, length.offset);
  if (most === 0n) throw refuse('EINVAL', 'argument', 'the length is 0');
  if (isLargest(iova)) throw refuse('EOVERFLOW', 'overflow', 'the iova is 2^64 - 1');
  const ioas = context.objects.get(ioasId, Ioas);
  return yield* holding(
    [ioas],
    ioas.table.readingContiguous(iova, most, (domain) => {
      if (domain instanceof NoIommuDomain) return domain;
      const detail = 'the first page table of the address space is not one of devices without IOMMU';
      throw refuse('EOPNOTSUPP', 'unsupported', detail);
    }),
  );
});

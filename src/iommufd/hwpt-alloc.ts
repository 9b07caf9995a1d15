/** Making page tables: the HWPT_ALLOC command, and what automatic page tables share with it. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { IommuError, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { type Abortable, type Operation, start } from '../operation.js';
import { BoundDevice } from './bound-device.js';
import type { Context } from './context.js';
import { undoing } from './driver.js';
import { HwPagetable } from './hwpt.js';
import { Ioas } from './ioas.js';
import type { DomainRequest } from './iommu-device.js';
import { type DeliverId, delivering, holding, noSuchId, noTarget } from './object-table.js';

/** Flags of HWPT_ALLOC. */
export const HWPT_ALLOC = Object.freeze({
  /** The table may become the parent of nested ones. */
  NEST_PARENT: 1,
  /** The table must be able to track dirty pages. */
  DIRTY_TRACKING: 2,
  /** `faultId` is given. */
  FAULT_ID_VALID: 4,
} as const);

/** The fields of HWPT_ALLOC that are looked at. */
export interface HwptAllocFields {
  readonly flags: number;
  /** Id of a bound device. */
  readonly devId: number;
  /** Id of an address space, or of the page table to nest in. */
  readonly ptId: number;
  readonly dataType: number;
  readonly dataLen: number;
}

/**
 * HWPT_ALLOC: makes a page table for a device on an address space, and gives its id. The table is manual: it lives
 * until it is destroyed, and no device is attached to it unless asked to.
 *
 * @param deliver - hands the id over before the page table can be found
 * @throws EINVAL if the data type and its length contradict each other, ENOENT if there is no such device, EINVAL if
 * `ptId` is neither an address space nor a page table, EOPNOTSUPP for flags or data that are not known, for dirty
 * tracking that the device lacks and for nesting, what the device's driver throws, as `IoPagetable.addDomain`, and what
 * `deliver` throws. Nothing is left of the page table then.
 *
 * @internal
 */
export function hwptAlloc(
  context: Context,
  fields: HwptAllocFields,
  deliver?: DeliverId,
  options?: Abortable,
): Promise<number> {
  return start(allocHwpt(context, fields, deliver), options);
}

function* allocHwpt(context: Context, fields: HwptAllocFields, deliver?: DeliverId): Operation<number> {
  const { flags, dataType, dataLen } = fields;
  if ((dataType === 0) !== (dataLen === 0)) {
    throw refuse('EINVAL', 'argument', `data of type ${dataType} cannot have ${dataLen} bytes`);
  }
  const bound = context.objects.get(fields.devId, BoundDevice);
  const target = context.objects.find(fields.ptId);
  if (target instanceof HwPagetable) throw refuseNesting(target, flags, dataLen);
  if (target === undefined) {
    const reason = { check: 'object', id: String(fields.ptId), detail: 'does not exist' } as const;
    throw new IommuError('EINVAL', reason);
  }
  if (!(target instanceof Ioas)) throw noTarget(target);
  if (flags & ~(HWPT_ALLOC.NEST_PARENT | HWPT_ALLOC.DIRTY_TRACKING)) {
    throw refuse('EOPNOTSUPP', 'unsupported', `flags 0x${flags.toString(16)} are not known here`);
  }
  const dirtyTracking = (flags & HWPT_ALLOC.DIRTY_TRACKING) !== 0;
  if (dirtyTracking && !bound.device.dirtyTracking) {
    throw refuse('EOPNOTSUPP', 'unsupported', `device ${bound.name} cannot track dirty pages`);
  }
  if (dataLen !== 0) {
    throw refuse('EOPNOTSUPP', 'unsupported', `device ${bound.name} takes no data for its page tables`);
  }
  const nestParent = (flags & HWPT_ALLOC.NEST_PARENT) !== 0;
  const making = target.exclusively(makeHwpt(context, bound, target, { dirtyTracking, nestParent }, deliver));
  return (yield* holding([bound, target], making)).id;
}

/** Makes a page table on an address space whose `exclusively` the caller is inside. */
function* makeHwpt(
  context: Context,
  bound: BoundDevice,
  ioas: Ioas,
  request: DomainRequest,
  deliver: DeliverId | undefined,
): Operation<HwPagetable> {
  const { driver } = bound;
  // It may have been unbound while this waited for its turn.
  if (!context.objects.has(bound)) throw noSuchId(bound.id);
  const { nestParent } = request;
  const mirroring = (id: number) =>
    function* (domain: IommuDomain): Operation<HwPagetable> {
      const hwpt = new HwPagetable(id, ioas, domain, driver, { automatic: false, nestParent });
      yield* hwpt.mirror();
      try {
        faultPoint(context.faults, 'response');
        yield* delivering(id, deliver);
      } catch (error) {
        yield* undoing(hwpt.unmirror());
        throw error;
      }
      return hwpt;
    };
  return yield* context.objects.creation((id) => driver.withDomain(request, mirroring(id)));
}

/** Page tables inside page tables are not modelled; what the kernel refuses before it makes one is. */
function refuseNesting(parent: HwPagetable, flags: number, dataLen: number): IommuError {
  if ((flags & ~HWPT_ALLOC.FAULT_ID_VALID) === 0 && dataLen !== 0) {
    const { automatic, nestParent } = parent.traits;
    if (automatic || !nestParent) {
      const detail = `page table ${parent.id} was not made to be the parent of another`;
      return refuse('EINVAL', 'argument', detail);
    }
  }
  return refuse('EOPNOTSUPP', 'unsupported', 'nested page tables are not modelled');
}

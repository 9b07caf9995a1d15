/** Making page tables: the HWPT_ALLOC command, and what automatic page tables share with it. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { IommuError, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { type Abortable, type Operation, start } from '../operation.js';
import { rulesOf } from '../rules.js';
import { hex } from '../u64.js';
import { BoundDevice } from './bound-device.js';
import type { Context } from './context.js';
import { undoing } from './driver.js';
import { type ReadData, readDriverData } from './driver-data.js';
import { HwPagetable } from './hwpt.js';
import { Ioas } from './ioas.js';
import { refuseFlags } from './ioas-commands.js';
import type { DomainRequest } from './iommu-device.js';
import { type DeliverId, delivering, holding, noSuchId, noTarget } from './object-table.js';
import { noNestingParent, Viommu } from './viommu.js';

/** Flags of HWPT_ALLOC. */
export const HWPT_ALLOC = Object.freeze({
  /** The table may become the parent of nested ones. */
  NEST_PARENT: 1,
  /** The table must be able to track dirty pages. */
  DIRTY_TRACKING: 2,
  /** `faultId` is given. */
  FAULT_ID_VALID: 4,
  /** Single address spaces (PASIDs) of a device can be attached to the table, too. */
  ALLOC_PASID: 8,
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
  /** Id of a fault queue; looked at only with FAULT_ID_VALID. */
  readonly faultId: number;
  /** Reads the data; needed only where `dataLen` is not 0. */
  readonly readData: ReadData;
}

/**
 * HWPT_ALLOC: makes a page table for a device on an address space, and gives its id. The table is manual: it lives
 * until it is destroyed, and no device is attached to it unless asked to.
 *
 * @param deliver - hands the id over before the page table can be found
 * @throws EINVAL if the data type and its length contradict each other, ENOENT if there is no such device, EINVAL if
 * `ptId` is neither an address space nor a page table, EOPNOTSUPP for flags or data that are not known, for dirty
 * tracking that the device lacks and for nesting, EINVAL if the device's driver takes other lengths of data, what reading
 * the data and the driver throw, as `IoPagetable.addDomain`, ENOENT for a fault queue (there are none), and what
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
  const { tableFlags, nestedTableFlags } = rulesOf(context.profile);
  if (target instanceof HwPagetable) throw refuseNesting(target, flags, dataLen, nestedTableFlags);
  if (target instanceof Viommu) throw nestingNotModelled();
  if (target === undefined) {
    const reason = { check: 'object', id: String(fields.ptId), detail: 'does not exist' } as const;
    throw new IommuError('EINVAL', reason);
  }
  if (!(target instanceof Ioas)) throw noTarget(target);
  refuseFlags(flags, tableFlags);
  const has = (flag: number) => (flags & flag) !== 0;
  if (has(HWPT_ALLOC.NEST_PARENT) && has(HWPT_ALLOC.FAULT_ID_VALID)) {
    throw refuse('EOPNOTSUPP', 'unsupported', 'the parent of nested page tables takes no faults');
  }
  const dirtyTracking = has(HWPT_ALLOC.DIRTY_TRACKING);
  if (dirtyTracking && !bound.device.dirtyTracking) {
    throw refuse('EOPNOTSUPP', 'unsupported', `device ${bound.name} cannot track dirty pages`);
  }
  const data = dataLen === 0 ? undefined : yield* readTableData(bound, fields);
  const request = {
    dirtyTracking,
    nestParent: has(HWPT_ALLOC.NEST_PARENT),
    pasid: has(HWPT_ALLOC.ALLOC_PASID),
    data,
  };
  const faultId = has(HWPT_ALLOC.FAULT_ID_VALID) ? fields.faultId : undefined;
  const making = target.exclusively(makeHwpt(context, bound, target, request, deliver, faultId));
  return (yield* holding([bound, target], making)).id;
}

/** Data for the driver of a device. */
function* readTableData(bound: BoundDevice, fields: HwptAllocFields): Operation<Uint8Array> {
  const { dataType, dataLen, readData } = fields;
  const format = bound.device.pageTableData;
  if (format?.type !== dataType) {
    const detail = `device ${bound.name} takes no data of type ${hex(dataType)} for its page tables`;
    throw refuse('EOPNOTSUPP', 'unsupported', detail);
  }
  return yield* readDriverData(format, dataLen, readData);
}

/** Makes a page table on an address space whose `exclusively` the caller is inside. */
function* makeHwpt(
  context: Context,
  bound: BoundDevice,
  ioas: Ioas,
  request: DomainRequest,
  deliver: DeliverId | undefined,
  faultId: number | undefined,
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
        if (faultId !== undefined) throw noFaultQueue(faultId);
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
function refuseNesting(parent: HwPagetable, flags: number, dataLen: number, known: number): IommuError {
  if ((flags & ~known) === 0 && dataLen !== 0) {
    const { automatic, nestParent } = parent.traits;
    if (automatic || !nestParent) return noNestingParent(parent);
  }
  return nestingNotModelled();
}

function nestingNotModelled(): IommuError {
  return refuse('EOPNOTSUPP', 'unsupported', 'nested page tables are not modelled');
}

/** There are no fault queues, so no id is one's. */
function noFaultQueue(id: number): IommuError {
  const detail = 'is not a fault queue; those are not modelled';
  return new IommuError('ENOENT', { check: 'object', id: String(id), detail });
}

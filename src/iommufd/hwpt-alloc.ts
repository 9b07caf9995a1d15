/** Making page tables: the HWPT_ALLOC command, and what automatic page tables share with it. */
import { IommuError, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { BoundDevice } from './bound-device.js';
import { type Context, holding } from './context.js';
import { addHwpt, HwPagetable } from './hwpt.js';
import { Ioas } from './ioas.js';
import { aKind, type DeliverId } from './object-table.js';

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
export async function hwptAlloc(
  context: Context,
  fields: HwptAllocFields,
  deliver?: DeliverId,
): Promise<number> {
  const { flags, dataType, dataLen } = fields;
  if ((dataType === 0) !== (dataLen === 0)) {
    throw refuse('EINVAL', 'argument', `data of type ${dataType} cannot have ${dataLen} bytes`);
  }
  const { device } = context.objects.get(fields.devId, BoundDevice);
  const target = context.objects.find(fields.ptId);
  if (target instanceof HwPagetable) throw refuseNesting(target, flags, dataLen);
  if (!(target instanceof Ioas)) {
    const detail =
      target === undefined
        ? 'does not exist'
        : `is ${aKind(target.kind)}, neither an address space nor a page table`;
    throw new IommuError('EINVAL', { check: 'object', id: String(fields.ptId), detail });
  }
  if (flags & ~(HWPT_ALLOC.NEST_PARENT | HWPT_ALLOC.DIRTY_TRACKING)) {
    throw refuse('EOPNOTSUPP', 'unsupported', `flags 0x${flags.toString(16)} are not known here`);
  }
  const dirtyTracking = (flags & HWPT_ALLOC.DIRTY_TRACKING) !== 0;
  if (dirtyTracking && !device.dirtyTracking) {
    throw refuse('EOPNOTSUPP', 'unsupported', `device ${device.name} cannot track dirty pages`);
  }
  if (dataLen !== 0) {
    throw refuse('EOPNOTSUPP', 'unsupported', `device ${device.name} takes no data for its page tables`);
  }
  const nestParent = (flags & HWPT_ALLOC.NEST_PARENT) !== 0;
  const hwpt = await holding([target], () =>
    target.exclusively(() =>
      context.objects.create(async (id) => {
        const domain = device.createDomain({ dirtyTracking, nestParent });
        let made: HwPagetable | undefined;
        try {
          made = await addHwpt(id, target, domain, { automatic: false, nestParent, maker: device });
          faultPoint(context.faults, 'response');
          await deliver?.(id);
          return made;
        } catch (error) {
          if (made === undefined) device.freeDomain?.(domain);
          else await made.dispose();
          throw error;
        }
      }),
    ),
  );
  return hwpt.id;
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

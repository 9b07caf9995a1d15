/** The commands on page tables and bound devices. */
import { IommuError, refuse } from '../errors.js';
import { getDirtyBitmap, setDirtyTracking } from '../iommufd/dirty.js';
import { getHwInfo } from '../iommufd/hw-info.js';
import { hwptAlloc } from '../iommufd/hwpt-alloc.js';
import { refuseFlags } from '../iommufd/ioas-commands.js';
import { noSuchId } from '../iommufd/object-table.js';
import { Viommu } from '../iommufd/viommu.js';
import { rulesOf } from '../rules.js';
import { DirtyBits } from './dirty-bits.js';
import type { Handlers } from './handlers.js';
import type { IOMMUFD_COMMANDS } from './iommufd-commands.js';
import { readBytes, type UserSpace } from './user-space.js';

/** Limits of HWPT_INVALIDATE. */
const LONGEST_ENTRY = 4096;
const MOST_ENTRIES = 2 ** 19;
/** Bytes that are zeroed in one go. */
const ZEROES = new Uint8Array(65_536);

/** By name. */
export const hwptHandlers: Pick<
  Handlers<typeof IOMMUFD_COMMANDS>,
  | 'HWPT_ALLOC'
  | 'GET_HW_INFO'
  | 'HWPT_SET_DIRTY_TRACKING'
  | 'HWPT_GET_DIRTY_BITMAP'
  | 'HWPT_INVALIDATE'
  | 'FAULT_QUEUE_ALLOC'
> = {
  async HWPT_ALLOC(call, { iommufd }) {
    const { fields, user } = call;
    const readData = (length: number) => readBytes(user, fields.dataUptr, length);
    await hwptAlloc(iommufd.context, { ...fields, readData }, (outHwptId) => call.respond({ outHwptId }));
  },

  async GET_HW_INFO(call, { iommufd }) {
    const { fields, user } = call;
    const { type, data, maxPasidLog2, capabilities } = await getHwInfo(iommufd.context, fields);
    const room = Math.min(fields.dataLen, data.length);
    await user.write(fields.dataUptr, data.subarray(0, room));
    await zero(user, fields.dataUptr + BigInt(room), fields.dataLen - room);
    await call.respond({
      dataLen: data.length,
      outDataType: type,
      outMaxPasidLog2: maxPasidLog2,
      outCapabilities: capabilities,
    });
  },

  async HWPT_SET_DIRTY_TRACKING({ fields }, { iommufd }) {
    await setDirtyTracking(iommufd.context, fields);
  },

  async HWPT_GET_DIRTY_BITMAP({ fields, user }, { iommufd }) {
    const bits = new DirtyBits();
    await getDirtyBitmap(iommufd.context, { ...fields, bitmap: bits.add });
    // What a bit stands for is a power of two, also where the page size asked for is none.
    const granule = fields.pageSize & -fields.pageSize;
    await bits.setIn(user, fields.data, (fields.length - 1n) / granule + 1n);
  },

  /** There are no nested page tables, and no virtual IOMMU whose driver could do it. */
  async HWPT_INVALIDATE({ fields }, { iommufd: { context } }) {
    const { hwptId, dataUptr, entryLen, entryNum } = fields;
    if (
      entryNum !== 0 &&
      (dataUptr === 0n || entryLen === 0 || entryLen > LONGEST_ENTRY || entryNum > MOST_ENTRIES)
    ) {
      throw refuse('EINVAL', 'argument', `there cannot be ${entryNum} entries of ${entryLen} bytes`);
    }
    const object = context.objects.find(hwptId);
    if (object === undefined) throw noSuchId(hwptId);
    if (object instanceof Viommu) {
      throw refuse('EOPNOTSUPP', 'unsupported', 'invalidations by a guest are not modelled');
    }
    throw new IommuError(rulesOf(context.profile).notInvalidatable, {
      check: 'object',
      id: String(hwptId),
      detail: 'is not a nested page table; those are not modelled',
    });
  },

  async FAULT_QUEUE_ALLOC({ fields }) {
    refuseFlags(fields.flags, 0);
    throw refuse('EOPNOTSUPP', 'unsupported', 'fault queues are not modelled');
  },
};

/** @throws EFAULT if there are not `length` bytes to be zeroed. */
async function zero(user: UserSpace, address: bigint, length: number): Promise<void> {
  for (let at = 0; at < length; at += ZEROES.length) {
    await user.write(address + BigInt(at), ZEROES.subarray(0, Math.min(ZEROES.length, length - at)));
  }
}

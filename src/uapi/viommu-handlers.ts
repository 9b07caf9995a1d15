/** The commands on what guests get of an IOMMU. */
import { hwQueueAlloc } from '../iommufd/hw-queue.js';
import { vdeviceAlloc, veventqAlloc, viommuAlloc } from '../iommufd/viommu.js';
import type { Handlers } from './handlers.js';
import type { IOMMUFD_COMMANDS } from './iommufd-commands.js';
import { readBytes } from './user-space.js';

/** By name. */
export const viommuHandlers: Pick<
  Handlers<typeof IOMMUFD_COMMANDS>,
  'VIOMMU_ALLOC' | 'VDEVICE_ALLOC' | 'VEVENTQ_ALLOC' | 'HW_QUEUE_ALLOC'
> = {
  async VIOMMU_ALLOC(call, { iommufd }) {
    const { fields, user } = call;
    const readData = (length: number) => readBytes(user, fields.dataUptr, length);
    const writeData = (bytes: Uint8Array) => user.write(fields.dataUptr, bytes);
    const deliver = (outViommuId: number) => call.respond({ outViommuId });
    await viommuAlloc(iommufd.context, { ...fields, readData, writeData }, { deliver });
  },

  VDEVICE_ALLOC: ({ fields }, { iommufd }) => vdeviceAlloc(iommufd.context, fields),

  VEVENTQ_ALLOC: ({ fields }, { iommufd }) => veventqAlloc(iommufd.context, fields),

  async HW_QUEUE_ALLOC(call, { iommufd }) {
    const deliver = (outHwQueueId: number) => call.respond({ outHwQueueId });
    await hwQueueAlloc(iommufd.context, call.fields, { deliver });
  },
};

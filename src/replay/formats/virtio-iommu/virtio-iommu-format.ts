/** The format of QEMU's virtio-iommu trace events. */
import type { LogFormat } from '../../log-format.js';
import { formatViommuEvent, parseViommuLine, type ViommuEvent } from './virtio-iommu-log.js';
import { VirtioIommuReplay } from './virtio-iommu-replay.js';
import { describeViommuEvent } from './virtio-iommu-words.js';

/** `virtio_iommu_map …` and the other events of the family. */
export const VIRTIO_IOMMU_FORMAT: LogFormat<ViommuEvent> = {
  name: 'viommu',
  marks: ['virtio_iommu_'],
  read: parseViommuLine,
  write: formatViommuEvent,
  describe: describeViommuEvent,
  begin: (model) => new VirtioIommuReplay(model),
};

/**
 * All formats of logs. One that is added is a folder beside these, and stands here.
 */
import type { LogFormat, LoggedEvent } from '../log-format.js';
import { IOMMUFD_FORMAT } from './iommufd/iommufd-format.js';
import type { IommufdEvent } from './iommufd/iommufd-log.js';
import { VFIO_FORMAT } from './vfio/vfio-format.js';
import type { VfioEvent } from './vfio/vfio-log.js';
import { VFIO_USER_FORMAT } from './vfio-user/vfio-user-format.js';
import type { VfioUserEvent } from './vfio-user/vfio-user-log.js';
import { VIRTIO_IOMMU_FORMAT } from './virtio-iommu/virtio-iommu-format.js';
import type { ViommuEvent } from './virtio-iommu/virtio-iommu-log.js';

/** What a log says, one event a line; `type` is the discriminant. */
export type LogEvent = VfioEvent | ViommuEvent | IommufdEvent | VfioUserEvent;

/** The formats of lines, which may be mixed in a log. A line is of the first one that reads it. */
export const LOG_FORMATS: readonly LogFormat<LogEvent>[] = [
  VFIO_FORMAT,
  VIRTIO_IOMMU_FORMAT,
  IOMMUFD_FORMAT,
  VFIO_USER_FORMAT,
];

/** The name of an event's format. */
export function formatNameOf({ type }: LoggedEvent): string {
  return type.slice(0, type.indexOf('-'));
}

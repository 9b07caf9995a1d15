/** The public names of the iommufd layer. */
export { type AccessOptions, IommufdAccess } from './access-object.js';
export { BoundDevice } from './bound-device.js';
export type { Caller, Capability } from './caller.js';
export type { ContextAccounting } from './context.js';
export type { DriverObjectParts } from './driver-object.js';
export { HW_CAPABILITY_DIRTY_TRACKING, HW_CAPABILITY_NO_ATS, type HwInfo } from './hw-info.js';
export { type IovaRanges, PartialAnswerError } from './ioas-commands.js';
export type { DomainRequest, DriverData, HardwareInfo, IommuDevice } from './iommu-device.js';
export {
  type DirtyBitmapRequest,
  type IoasCopyRequest,
  type IoasMapFileRequest,
  type IoasMapRequest,
  Iommufd,
  type IommufdOptionRequest,
  type IommufdOptions,
} from './iommufd.js';
export type {
  LockedBytes,
  LockedBytesAnswer,
  LockedBytesQuestion,
  PlannedCopy,
  PlannedMap,
} from './locked-bytes.js';
export { NoIommuDevice } from './no-iommu.js';
export { IommufdObject } from './object-table.js';
export type { VfioCapability, VfioInfo } from './vfio-info.js';
export type { HardwareQueue, ViommuDriver, ViommuRequest, VirtualIommu } from './viommu-driver.js';

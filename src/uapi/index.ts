/**
 * The binary interface of the iommufd character device: `/dev/iommu` for programs that speak structs and pointers, and
 * the structs as bytes for programs that talk to a real one.
 */
export { GET_DIRTY_BITMAP, SET_DIRTY_TRACKING } from '../iommufd/dirty.js';
export { GET_HW_INFO } from '../iommufd/hw-info.js';
export { HWPT_ALLOC } from '../iommufd/hwpt-alloc.js';
export { IOAS_MAP } from '../iommufd/ioas-commands.js';
export { OPTION, OPTION_OP } from '../iommufd/option.js';
export { VFIO_EXTENSION, VFIO_IOAS_OP, VFIO_UNMAP } from '../iommufd/vfio.js';
export type { Release } from '../rules.js';
export type { Command } from './command-row.js';
export {
  COMMANDS,
  type CommandFields,
  type CommandInput,
  type CommandName,
  type FieldsOf,
} from './commands.js';
export { IommufdDevice, type IommufdDeviceOptions } from './device.js';
export type { CallerFile, DeviceCaller } from './device-caller.js';
export type { DeviceCommands } from './device-commands.js';
export { DeviceMapping, type DeviceMmapRequest } from './device-mapping.js';
export { decode, encode } from './encoding.js';
export { FileTable } from './file-table.js';
export { decodeRanges, encodeRanges } from './ranges.js';
export type { Answer, Decoded, Encodable, Field, Fields, FieldType, FieldUse, Struct } from './struct.js';
export { VFIO_REQUEST } from './vfio-commands.js';
export { type DecodedVfioInfo, decodeVfioInfo, type UnknownVfioCapability } from './vfio-info-bytes.js';

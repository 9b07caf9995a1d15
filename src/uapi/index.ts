/**
 * The binary interface of the iommufd character device: `/dev/iommu` for programs that speak structs and pointers, and
 * the structs as bytes for programs that talk to a real one.
 */
export { GET_DIRTY_BITMAP, SET_DIRTY_TRACKING } from '../iommufd/dirty.js';
export { HWPT_ALLOC } from '../iommufd/hwpt-alloc.js';
export { IOAS_MAP } from '../iommufd/ioas-commands.js';
export { OPTION, OPTION_OP } from '../iommufd/option.js';
export { VFIO_EXTENSION, VFIO_IOAS_OP, VFIO_UNMAP } from '../iommufd/vfio.js';
export { AccessFiles, type AfterClose } from '../testing/access-files.js';
export { MOCK_ACCESS } from '../testing/mock-access.js';
export { MOCK_FLAGS } from '../testing/mock-device.js';
export type { TestMemory } from '../testing/page-identity.js';
export {
  COMMANDS,
  type Command,
  type CommandFields,
  type CommandInput,
  type CommandName,
  type FieldsOf,
  VFIO_REQUEST,
} from './commands.js';
export { IommufdDevice, type IommufdDeviceOptions } from './device.js';
export { decode, encode } from './encoding.js';
export { decodeRanges, encodeRanges } from './ranges.js';
export type { Answer, Decoded, Encodable, Field, Fields, FieldType, FieldUse, Struct } from './struct.js';
export { type DecodedVfioInfo, decodeVfioInfo, type UnknownVfioCapability } from './vfio-info.js';

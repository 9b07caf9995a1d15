/**
 * PCI devices for a VMM that speaks vfio-user, such as QEMU: a device in a few lines, reached through a UNIX socket,
 * whose DMA goes through an `IoPagetable`. Needs Node.
 */
export {
  type ClientEvents,
  type ClientOptions,
  type DeviceInfo,
  type DmaMapping,
  type InterruptInfo,
  type MappableArea,
  type MappedArea,
  type RegionInfo,
  type RegionWrite,
  VfioUserClient,
} from './client.js';
export type { ServerCapabilities } from './client-capabilities.js';
export type { InterruptHandler } from './client-interrupts.js';
export type { ClientRam } from './client-memory.js';
export type { Reply } from './client-requests.js';
export type { DescriptorSupport, GuestMemory, GuestRange, MappedFile } from './descriptors.js';
export { DeviceDma, type DmaSegment } from './dma.js';
export { PciDevice, type PciDeviceEvents } from './pci-device.js';
export type {
  AccessWidth,
  BarOptions,
  BarPart,
  MsiOptions,
  MsixOptions,
  PciDeviceOptions,
  ReadHandler,
  VendorCapability,
  WriteHandler,
} from './pci-options.js';
export {
  COMMAND,
  DEVICE_FLAG,
  FEATURE,
  FEATURE_FLAG,
  IRQ,
  IRQ_FLAG,
  MIG_STATE,
  REGION,
  REGION_FLAG,
} from './protocol.js';
export type { RecordTarget } from './record.js';
export { type DeviceServer, type ServeOptions, serve } from './server.js';
export type { Acceptor, FrameLimits, Header, Message, Transport, TransportListener } from './transport.js';

/**
 * PCI devices for a VMM that speaks vfio-user, such as QEMU: a device in a few lines, reached through a UNIX socket,
 * whose DMA goes through an `IoPagetable`. Needs Node.
 */
export type { DescriptorSupport, MappedFile } from './descriptors.js';
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
export { type DeviceServer, type ServeOptions, serve } from './server.js';
export type { Acceptor, FrameLimits, Header, Message, Transport, TransportListener } from './transport.js';

/** The commands of the device itself: request numbers and structs, as C programs have them. */
import { command, unchanged } from './command-row.js';
import { field } from './struct.js';

/** The commands on objects, address spaces and page tables, by name. */
export const IOMMUFD_COMMANDS = Object.freeze({
  DESTROY: command(0x3b80, unchanged(8), {
    id: field('u32', 4, 'in'),
  }),
  IOAS_ALLOC: command(0x3b81, unchanged(12), {
    flags: field('u32', 4, 'in?'),
    outIoasId: field('u32', 8, 'out'),
  }),
  IOAS_ALLOW_IOVAS: command(0x3b82, unchanged(24), {
    ioasId: field('u32', 4, 'in'),
    numIovas: field('u32', 8, 'in'),
    reserved: field('u32', 12, 'reserved'),
    allowedIovas: field('u64', 16, 'in'),
  }),
  IOAS_COPY: command(0x3b83, unchanged(40), {
    flags: field('u32', 4, 'in'),
    dstIoasId: field('u32', 8, 'in'),
    srcIoasId: field('u32', 12, 'in'),
    length: field('u64', 16, 'in'),
    dstIova: field('u64', 24, 'io'),
    srcIova: field('u64', 32, 'in'),
  }),
  IOAS_IOVA_RANGES: command(0x3b84, unchanged(32), {
    ioasId: field('u32', 4, 'in'),
    numIovas: field('u32', 8, 'io'),
    reserved: field('u32', 12, 'reserved'),
    allowedIovas: field('u64', 16, 'in'),
    outIovaAlignment: field('u64', 24, 'out'),
  }),
  IOAS_MAP: command(0x3b85, unchanged(40), {
    flags: field('u32', 4, 'in'),
    ioasId: field('u32', 8, 'in'),
    reserved: field('u32', 12, 'reserved'),
    userVa: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
    iova: field('u64', 32, 'io'),
  }),
  IOAS_UNMAP: command(0x3b86, unchanged(24), {
    ioasId: field('u32', 4, 'in'),
    iova: field('u64', 8, 'in'),
    length: field('u64', 16, 'io'),
  }),
  OPTION: command(0x3b87, unchanged(24), {
    optionId: field('u32', 4, 'in'),
    op: field('u16', 8, 'in'),
    reserved: field('u16', 10, 'reserved'),
    objectId: field('u32', 12, 'in?'),
    val64: field('u64', 16, 'io'),
  }),
  VFIO_IOAS: command(0x3b88, unchanged(12), {
    ioasId: field('u32', 4, 'io'),
    op: field('u16', 8, 'in'),
    reserved: field('u16', 10, 'reserved'),
  }),
  HWPT_ALLOC: command(
    0x3b89,
    { least: 24, known: 48 },
    {
      flags: field('u32', 4, 'in'),
      devId: field('u32', 8, 'in'),
      ptId: field('u32', 12, 'in'),
      outHwptId: field('u32', 16, 'out'),
      reserved: field('u32', 20, 'reserved'),
      dataType: field('u32', 24, 'in?'),
      dataLen: field('u32', 28, 'in?'),
      dataUptr: field('u64', 32, 'in?'),
      faultId: field('u32', 40, 'in?'),
      reserved2: field('u32', 44, 'ignored'),
    },
  ),
  GET_HW_INFO: command(
    0x3b8a,
    { least: 32, known: 40 },
    {
      flags: field('u32', 4, 'reserved'),
      devId: field('u32', 8, 'in'),
      dataLen: field('u32', 12, 'io'),
      dataUptr: field('u64', 16, 'in'),
      outDataType: field('u32', 24, 'out'),
      outMaxPasidLog2: field('u8', 28, 'out'),
      reserved: field('u8', 29, 'reserved', 3),
      outCapabilities: field('u64', 32, 'out'),
    },
  ),
  HWPT_SET_DIRTY_TRACKING: command(0x3b8b, unchanged(16), {
    flags: field('u32', 4, 'in'),
    hwptId: field('u32', 8, 'in'),
    reserved: field('u32', 12, 'ignored'),
  }),
  HWPT_GET_DIRTY_BITMAP: command(0x3b8c, unchanged(48), {
    hwptId: field('u32', 4, 'in'),
    flags: field('u32', 8, 'in?'),
    reserved: field('u32', 12, 'reserved'),
    iova: field('u64', 16, 'in'),
    length: field('u64', 24, 'in'),
    pageSize: field('u64', 32, 'in'),
    data: field('u64', 40, 'in'),
  }),
  HWPT_INVALIDATE: command(
    0x3b8d,
    unchanged(32),
    {
      hwptId: field('u32', 4, 'in'),
      dataUptr: field('u64', 8, 'in'),
      dataType: field('u32', 16, 'in'),
      entryLen: field('u32', 20, 'in'),
      entryNum: field('u32', 24, 'io'),
      reserved: field('u32', 28, 'reserved'),
    },
    { entryNum: 0 },
  ),
  FAULT_QUEUE_ALLOC: command(0x3b8e, unchanged(16), {
    flags: field('u32', 4, 'in?'),
    outFaultId: field('u32', 8, 'out'),
    outFaultFd: field('u32', 12, 'out'),
  }),
});

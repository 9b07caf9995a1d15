/**
 * The messages of vfio-user: commands, flags, and structs as tables. All numbers are little endian; all lengths are
 * bytes.
 */
import { field, Struct } from '../uapi/struct.js';

/** The commands, by the names of the specification. */
export const COMMAND = Object.freeze({
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  DEVICE_GET_INFO: 4,
  DEVICE_GET_REGION_INFO: 5,
  DEVICE_GET_REGION_IO_FDS: 6,
  DEVICE_GET_IRQ_INFO: 7,
  DEVICE_SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  /** From the server. */
  DMA_READ: 11,
  /** From the server. */
  DMA_WRITE: 12,
  DEVICE_RESET: 13,
  REGION_WRITE_MULTI: 15,
  DEVICE_FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
} as const);

/** Bits of a header's `flags`. */
export const MESSAGE_FLAG = Object.freeze({
  /** The bits that say what the message is: 0 a command, 1 a reply. */
  TYPE: 0xf,
  REPLY: 0x1,
  /** On a command: nothing is to be answered, not even an error. */
  NO_REPLY: 0x10,
  /** On a reply: it failed; `error` has the errno, and there is no payload. */
  ERROR: 0x20,
} as const);

/** Length of a header. */
export const HEADER_SIZE = 16;

/** What every message begins with. */
export const HEADER = new Struct(HEADER_SIZE, {
  /** The sender's; a reply repeats it. */
  id: field('u16', 0, 'in'),
  command: field('u16', 2, 'in'),
  /** Of the whole message, this header included. */
  size: field('u32', 4, 'in'),
  flags: field('u32', 8, 'in'),
  /** A positive errno, in a reply that failed. */
  error: field('u32', 12, 'in?'),
});

/** VERSION begins with it; JSON and a NUL follow. */
export const VERSION = new Struct(4, {
  major: field('u16', 0, 'in'),
  minor: field('u16', 2, 'in'),
});

/** Bits of a DMA_MAP's `flags`. */
export const DMA_MAP_FLAG = Object.freeze({ READ: 1, WRITE: 2 } as const);

/** DMA_MAP; the file that `offset` belongs to comes as a descriptor. */
export const DMA_MAP = new Struct(32, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in'),
  offset: field('u64', 8, 'in'),
  address: field('u64', 16, 'in'),
  size: field('u64', 24, 'in'),
});

/** DMA_UNMAP, and its reply. */
export const DMA_UNMAP = new Struct(24, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in?'),
  address: field('u64', 8, 'in'),
  size: field('u64', 16, 'in'),
});

/** Bits of a DEVICE_GET_INFO's `flags`. */
export const DEVICE_FLAG = Object.freeze({ RESET: 1, PCI: 2 } as const);

/** DEVICE_GET_INFO, and its reply. */
export const DEVICE_INFO = new Struct(16, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in?'),
  numRegions: field('u32', 8, 'in?'),
  numIrqs: field('u32', 12, 'in?'),
});

/** The regions of a PCI device by index; 0 to 5 are the BARs. */
export const REGION = Object.freeze({ BAR0: 0, BAR5: 5, ROM: 6, CONFIG: 7, VGA: 8 } as const);
/** How many regions a PCI device has. */
export const REGION_COUNT = 9;

/** Bits of a region's `flags`. */
export const REGION_FLAG = Object.freeze({ READ: 1, WRITE: 2, MMAP: 4, CAPS: 8 } as const);

/** DEVICE_GET_REGION_INFO, and its reply, which capabilities may follow. */
export const REGION_INFO = new Struct(32, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in?'),
  index: field('u32', 8, 'in'),
  capOffset: field('u32', 12, 'in?'),
  size: field('u64', 16, 'in?'),
  offset: field('u64', 24, 'in?'),
});

/** The capability of a region that lists what of it can be mapped; `count` areas follow. */
export const SPARSE_MMAP = new Struct(16, {
  /** 1. */
  id: field('u16', 0, 'in'),
  /** 1. */
  version: field('u16', 2, 'in'),
  /** Where the next capability begins, from the begin of the struct; 0: there is none. */
  next: field('u32', 4, 'in?'),
  count: field('u32', 8, 'in'),
  reserved: field('u32', 12, 'reserved'),
});

/** An area of a region that can be mapped. */
export const SPARSE_AREA = new Struct(16, {
  offset: field('u64', 0, 'in'),
  size: field('u64', 8, 'in'),
});

/** DEVICE_GET_REGION_IO_FDS, and its reply. */
export const REGION_IO_FDS = new Struct(16, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in?'),
  index: field('u32', 8, 'in'),
  count: field('u32', 12, 'in?'),
});

/** The interrupts of a PCI device by index. */
export const IRQ = Object.freeze({ INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4 } as const);
/** How many kinds of interrupts a PCI device has. */
export const IRQ_COUNT = 5;

/** Bits of a DEVICE_GET_IRQ_INFO's `flags`. */
export const IRQ_FLAG = Object.freeze({ EVENTFD: 1, MASKABLE: 2, AUTOMASKED: 4, NORESIZE: 8 } as const);

/** DEVICE_GET_IRQ_INFO, and its reply. */
export const IRQ_INFO = new Struct(16, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in?'),
  index: field('u32', 8, 'in'),
  count: field('u32', 12, 'in?'),
});

/** Bits of a DEVICE_SET_IRQS's `flags`: one of the first three, and one of the others. */
export const IRQ_SET_FLAG = Object.freeze({
  DATA_NONE: 1,
  DATA_BOOL: 2,
  DATA_EVENTFD: 4,
  MASK: 8,
  UNMASK: 0x10,
  TRIGGER: 0x20,
} as const);

/** DEVICE_SET_IRQS; `count` bytes follow if the flags have `DATA_BOOL`. */
export const IRQ_SET = new Struct(20, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in'),
  index: field('u32', 8, 'in'),
  start: field('u32', 12, 'in'),
  count: field('u32', 16, 'in'),
});

/** REGION_READ and REGION_WRITE and their replies; `count` bytes follow a write and the reply of a read. */
export const REGION_ACCESS = new Struct(16, {
  offset: field('u64', 0, 'in'),
  region: field('u32', 8, 'in'),
  count: field('u32', 12, 'in'),
});

/** REGION_WRITE_MULTI, and its reply; `count` writes follow. */
export const WRITE_MULTI = new Struct(8, {
  count: field('u64', 0, 'in'),
});

/** One write of a REGION_WRITE_MULTI: the first `count` bytes of the eight from 16 on. */
export const MULTI_WRITE = new Struct(24, {
  offset: field('u64', 0, 'in'),
  region: field('u32', 8, 'in'),
  count: field('u32', 12, 'in'),
  data: field('u64', 16, 'in'),
});

/** DMA_READ and DMA_WRITE and their replies; `count` bytes follow a write and the reply of a read. */
export const DMA_ACCESS = new Struct(16, {
  address: field('u64', 0, 'in'),
  count: field('u64', 8, 'in'),
});

/** Bits of a DEVICE_FEATURE's `flags` above the feature. */
export const FEATURE_FLAG = Object.freeze({ GET: 0x1_0000, SET: 0x2_0000, PROBE: 0x4_0000 } as const);
/** The bits of a DEVICE_FEATURE's `flags` that name the feature. */
export const FEATURE_MASK = 0xffff;

/** The features of a device. */
export const FEATURE = Object.freeze({
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
} as const);

/** DEVICE_FEATURE, and its reply; the feature's own struct follows. */
export const DEVICE_FEATURE = new Struct(8, {
  argsz: field('u32', 0, 'in'),
  flags: field('u32', 4, 'in'),
});

/** What `FEATURE.MIGRATION` gets: bits 1 stop-copy, 2 P2P, 4 pre-copy. */
export const FEATURE_MIGRATION = new Struct(8, {
  flags: field('u64', 0, 'in'),
});

/** What `FEATURE.MIG_DEVICE_STATE` gets and sets. */
export const FEATURE_MIG_STATE = new Struct(8, {
  state: field('u32', 0, 'in'),
  dataFd: field('u32', 4, 'in?'),
});

/** The states of a migration. */
export const MIG_STATE = Object.freeze({
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
} as const);

/** What `FEATURE.DMA_LOGGING_START` sets; `numRanges` ranges follow. None: everything. */
export const LOGGING_START = new Struct(16, {
  pageSize: field('u64', 0, 'in'),
  numRanges: field('u32', 8, 'in'),
  reserved: field('u32', 12, 'reserved'),
});

/** A range of IOVA whose writes are logged. */
export const LOGGING_RANGE = new Struct(16, {
  iova: field('u64', 0, 'in'),
  length: field('u64', 8, 'in'),
});

/** What `FEATURE.DMA_LOGGING_REPORT` asks for; in the reply a bitmap follows. */
export const LOGGING_REPORT = new Struct(24, {
  iova: field('u64', 0, 'in'),
  length: field('u64', 8, 'in'),
  pageSize: field('u64', 16, 'in'),
});

/** MIG_DATA_READ, MIG_DATA_WRITE and the reply of the first; `size` bytes follow the latter two. */
export const MIG_DATA = new Struct(8, {
  argsz: field('u32', 0, 'in'),
  size: field('u32', 4, 'in'),
});

/** Bytes that a command may move at most (`max_data_xfer_size`), where the other side says nothing else. */
export const MAX_DATA_XFER_SIZE = 2 ** 20;

/** Bytes of a message besides the data it moves: a header and the largest struct in front of data. */
export const MESSAGE_OVERHEAD = 64;

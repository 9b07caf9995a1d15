/**
 * QEMU's `iommufd_backend_*` trace events (`-trace 'iommufd_*'`): the calls of a VMM to /dev/iommu and their
 * answers. RET is 0 or negative: −1 (the errno follows in an error line) or −errno, as the QEMU version has it.
 */
import type { ErrorCode } from '../errors.js';
import {
  findTraceEvent,
  type LogPlace,
  lineForm,
  type MalformedLine,
  malformed,
  readTraceEvent,
  type TraceEvent,
} from './log-line.js';

interface IommufdCall extends LogPlace {
  /** File descriptor of /dev/iommu: which context is meant. */
  readonly iommufd: number;
  /** 0 or negative. */
  readonly result: number;
  /** The errno that an error line after this one names, where `result` is −1 (see `IommufdAnswerJoiner`). */
  readonly failure?: ErrorCode;
}

/** A user of /dev/iommu comes. */
export interface IommufdConnect extends LogPlace {
  readonly type: 'iommufd-connect';
  readonly fd: number;
  /** Whether QEMU opened the file itself. */
  readonly owned: boolean;
  /** Users after it. */
  readonly users: number;
}

/** A user of /dev/iommu goes; after the last one all objects are gone. */
export interface IommufdDisconnect extends LogPlace {
  readonly type: 'iommufd-disconnect';
  readonly fd: number;
  /** Users that are left. */
  readonly users: number;
}

/** A new IOVA space. */
export interface IommufdAllocIoas extends LogPlace {
  readonly type: 'iommufd-alloc-ioas';
  readonly iommufd: number;
  readonly ioas: number;
}

/** A fixed map of QEMU's memory at `uptr`. */
export interface IommufdMapDma extends IommufdCall {
  readonly type: 'iommufd-map-dma';
  readonly ioas: number;
  readonly iova: bigint;
  readonly length: bigint;
  readonly uptr: bigint;
  readonly readonly: boolean;
}

/** A fixed map of a part of a file. */
export interface IommufdMapFileDma extends IommufdCall {
  readonly type: 'iommufd-map-file-dma';
  readonly ioas: number;
  readonly iova: bigint;
  readonly length: bigint;
  readonly fd: number;
  /** First byte in the file. */
  readonly start: bigint;
  readonly readonly: boolean;
}

/** An unmap; in the second form, one that QEMU expects to find nothing. */
export interface IommufdUnmapDma extends IommufdCall {
  readonly type: 'iommufd-unmap-dma' | 'iommufd-unmap-dma-non-exist';
  readonly ioas: number;
  readonly iova: bigint;
  readonly length: bigint;
}

/** A new hardware page table on an IOVA space or on another page table. */
export interface IommufdAllocHwpt extends IommufdCall {
  readonly type: 'iommufd-alloc-hwpt';
  readonly device: number;
  /** Id of the IOVA space or page table it is made from. */
  readonly parent: number;
  readonly flags: bigint;
  readonly dataType: number;
  readonly dataLength: number;
  readonly dataPointer: bigint;
  /** Id of the new page table. */
  readonly hwpt: number;
}

/** An object goes. */
export interface IommufdFreeId extends IommufdCall {
  readonly type: 'iommufd-free-id';
  readonly id: number;
}

/** Dirty tracking of a page table goes on or off. */
export interface IommufdSetDirty extends IommufdCall {
  readonly type: 'iommufd-set-dirty';
  readonly hwpt: number;
  readonly enable: boolean;
}

/** A range's dirty bits are read. */
export interface IommufdGetDirtyBitmap extends IommufdCall {
  readonly type: 'iommufd-get-dirty-bitmap';
  readonly hwpt: number;
  readonly iova: bigint;
  readonly length: bigint;
  readonly flags: bigint;
  readonly pageSize: bigint;
}

/** What a line of this format says. */
export type IommufdEvent =
  | IommufdConnect
  | IommufdDisconnect
  | IommufdAllocIoas
  | IommufdMapDma
  | IommufdMapFileDma
  | IommufdUnmapDma
  | IommufdAllocHwpt
  | IommufdFreeId
  | IommufdSetDirty
  | IommufdGetDirtyBitmap;

const FAMILY = 'iommufd_backend_';
const CONNECT = lineForm('fd=<fd:int> owned=<owned:bool> users=<users:int>');
const DISCONNECT = lineForm('fd=<fd:int> users=<users:int>');
const ALLOC_IOAS = lineForm('iommufd=<iommufd:int> ioas=<ioas:int>');
const IOAS_RANGE = 'iommufd=<iommufd:int> ioas=<ioas:int> iova=<iova:hex> size=<length:hex>';
const MAP = lineForm(`${IOAS_RANGE} addr=<uptr:hex> readonly=<readonly:bool> (<result:int>)`);
const MAP_FILE = lineForm(
  `${IOAS_RANGE} fd=<fd:int> start=<start:u64> readonly=<readonly:bool> (<result:int>)`,
);
const UNMAP = lineForm(`${IOAS_RANGE} (<result:int>)`);
const UNMAP_NOTHING = lineForm(`Unmap nonexistent mapping: ${IOAS_RANGE} (<result:int>)`);
const HWPT_SOURCE = 'iommufd=<iommufd:int> dev_id=<device:int> pt_id=<parent:int> flags=<flags:hex>';
const HWPT_DATA = 'hwpt_type=<dataType:int> len=<dataLength:int> data_ptr=<dataPointer:hex>';
const ALLOC_HWPT = lineForm(`${HWPT_SOURCE} ${HWPT_DATA} out_hwpt=<hwpt:int> (<result:int>)`);
const FREE_ID = lineForm('iommufd=<iommufd:int> id=<id:int> (<result:int>)');
const HWPT = 'iommufd=<iommufd:int> hwpt=<hwpt:int>';
const SET_DIRTY = lineForm(`${HWPT} enable=<enable:bool> (<result:int>)`);
const GET_DIRTY = lineForm(
  `${HWPT} iova=<iova:hex> size=<length:hex> flags=<flags:hex> page_size=<pageSize:hex> (<result:int>)`,
);

/** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
export function parseIommufdLine(text: string, line: number): IommufdEvent | MalformedLine | undefined {
  const found = findTraceEvent(text, line, FAMILY);
  switch (found?.name) {
    case 'connect':
      return readTraceEvent(found, 'iommufd-connect', CONNECT);
    case 'disconnect':
      return readTraceEvent(found, 'iommufd-disconnect', DISCONNECT);
    case 'alloc_ioas':
      return readTraceEvent(found, 'iommufd-alloc-ioas', ALLOC_IOAS);
    case 'map_dma':
      return answered(found, readTraceEvent(found, 'iommufd-map-dma', MAP));
    case 'map_file_dma':
      return answered(found, readTraceEvent(found, 'iommufd-map-file-dma', MAP_FILE));
    case 'unmap_dma':
      return answered(found, readTraceEvent(found, 'iommufd-unmap-dma', UNMAP));
    case 'unmap_dma_non_exist':
      return answered(found, readTraceEvent(found, 'iommufd-unmap-dma-non-exist', UNMAP_NOTHING));
    case 'alloc_hwpt':
      return answered(found, readTraceEvent(found, 'iommufd-alloc-hwpt', ALLOC_HWPT));
    case 'free_id':
      return answered(found, readTraceEvent(found, 'iommufd-free-id', FREE_ID));
    case 'set_dirty':
      return answered(found, readTraceEvent(found, 'iommufd-set-dirty', SET_DIRTY));
    case 'get_dirty_bitmap':
      return answered(found, readTraceEvent(found, 'iommufd-get-dirty-bitmap', GET_DIRTY));
    default:
      return undefined;
  }
}

/** The line of an event as QEMU prints it, without a prefix; `parseIommufdLine` reads it back. */
export function formatIommufdEvent(event: IommufdEvent): string {
  switch (event.type) {
    case 'iommufd-connect':
      return `${FAMILY}connect ${CONNECT.write(event)}`;
    case 'iommufd-disconnect':
      return `${FAMILY}disconnect ${DISCONNECT.write(event)}`;
    case 'iommufd-alloc-ioas':
      return `${FAMILY}alloc_ioas  ${ALLOC_IOAS.write(event)}`;
    case 'iommufd-map-dma':
      return `${FAMILY}map_dma  ${MAP.write(event)}`;
    case 'iommufd-map-file-dma':
      return `${FAMILY}map_file_dma  ${MAP_FILE.write(event)}`;
    case 'iommufd-unmap-dma':
      return `${FAMILY}unmap_dma  ${UNMAP.write(event)}`;
    case 'iommufd-unmap-dma-non-exist':
      return `${FAMILY}unmap_dma_non_exist  ${UNMAP_NOTHING.write(event)}`;
    case 'iommufd-alloc-hwpt':
      return `${FAMILY}alloc_hwpt  ${ALLOC_HWPT.write(event)}`;
    case 'iommufd-free-id':
      return `${FAMILY}free_id  ${FREE_ID.write(event)}`;
    case 'iommufd-set-dirty':
      return `${FAMILY}set_dirty  ${SET_DIRTY.write(event)}`;
    case 'iommufd-get-dirty-bitmap':
      return `${FAMILY}get_dirty_bitmap  ${GET_DIRTY.write(event)}`;
  }
}

/** The event, unless its RET is no answer of the kernel. */
function answered<Event extends { readonly result: number }>(
  found: TraceEvent,
  event: Event | MalformedLine,
): Event | MalformedLine {
  if (!('result' in event) || event.result <= 0) return event;
  return malformed(found.line, found.text, 'RET is neither 0 nor negative');
}

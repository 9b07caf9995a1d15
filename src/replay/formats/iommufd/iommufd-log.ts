/**
 * QEMU's `iommufd_backend_*` trace events (`-trace 'iommufd_*'`): the calls of a VMM to /dev/iommu and their
 * answers. RET is 0 or negative: −1 (the errno follows in an error line) or −errno, as the QEMU version has it.
 */
import type { ErrorCode } from '../../../errors.js';
import { type LogPlace, lineForm, type MalformedLine } from '../../log-line.js';
import { traceFamily } from '../../trace-family.js';

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

const IOAS = 'iommufd=<iommufd:int> ioas=<ioas:int>';
const IOAS_RANGE = `${IOAS} iova=<iova:hex> size=<length:hex>` as const;
const HWPT = 'iommufd=<iommufd:int> hwpt=<hwpt:int>';
const HWPT_SOURCE = 'iommufd=<iommufd:int> dev_id=<device:int> pt_id=<parent:int> flags=<flags:hex>';
const HWPT_DATA = 'hwpt_type=<dataType:int> len=<dataLength:int> data_ptr=<dataPointer:hex>';

// QEMU prints two spaces behind most names.
const LINES = traceFamily<IommufdEvent>('iommufd_backend_', {
  'iommufd-connect': { name: 'connect', form: lineForm('fd=<fd:int> owned=<owned:bool> users=<users:int>') },
  'iommufd-disconnect': { name: 'disconnect', form: lineForm('fd=<fd:int> users=<users:int>') },
  'iommufd-alloc-ioas': { name: 'alloc_ioas  ', form: lineForm(IOAS) },
  'iommufd-map-dma': {
    name: 'map_dma  ',
    form: lineForm(`${IOAS_RANGE} addr=<uptr:hex> readonly=<readonly:bool> (<result:int>)`),
    problem: noAnswer,
  },
  'iommufd-map-file-dma': {
    name: 'map_file_dma  ',
    form: lineForm(`${IOAS_RANGE} fd=<fd:int> start=<start:u64> readonly=<readonly:bool> (<result:int>)`),
    problem: noAnswer,
  },
  'iommufd-unmap-dma': {
    name: 'unmap_dma  ',
    form: lineForm(`${IOAS_RANGE} (<result:int>)`),
    problem: noAnswer,
  },
  'iommufd-unmap-dma-non-exist': {
    name: 'unmap_dma_non_exist  ',
    form: lineForm(`Unmap nonexistent mapping: ${IOAS_RANGE} (<result:int>)`),
    problem: noAnswer,
  },
  'iommufd-alloc-hwpt': {
    name: 'alloc_hwpt  ',
    form: lineForm(`${HWPT_SOURCE} ${HWPT_DATA} out_hwpt=<hwpt:int> (<result:int>)`),
    problem: noAnswer,
  },
  'iommufd-free-id': {
    name: 'free_id  ',
    form: lineForm('iommufd=<iommufd:int> id=<id:int> (<result:int>)'),
    problem: noAnswer,
  },
  'iommufd-set-dirty': {
    name: 'set_dirty  ',
    form: lineForm(`${HWPT} enable=<enable:bool> (<result:int>)`),
    problem: noAnswer,
  },
  'iommufd-get-dirty-bitmap': {
    name: 'get_dirty_bitmap  ',
    form: lineForm(
      `${HWPT} iova=<iova:hex> size=<length:hex> flags=<flags:hex> page_size=<pageSize:hex> (<result:int>)`,
    ),
    problem: noAnswer,
  },
});

/** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
export function parseIommufdLine(text: string, line: number): IommufdEvent | MalformedLine | undefined {
  return LINES.read(text, line);
}

/** The line of an event as QEMU prints it, without a prefix; `parseIommufdLine` reads it back. */
export function formatIommufdEvent(event: IommufdEvent): string {
  return LINES.write(event);
}

function noAnswer({ result }: IommufdCall): string | undefined {
  return result > 0 ? 'RET is neither 0 nor negative' : undefined;
}

/**
 * The Linux iommufd io_pagetable in TypeScript.
 *
 * `IoPagetable` says which I/O virtual addresses a device may use and which pages of a process are behind them,
 * errno for errno as the kernel does.
 */
export {
  IoptAccess,
  type IoptAccessOptions,
  type PinOptions,
  type UnmapNotice,
} from './access/iopt-access.js';
export { PinnedRange, type PinnedRangeOptions } from './access/pinned-range.js';
export type { TransferOptions } from './access/transfer.js';
export type { IovaRange } from './arguments.js';
export type { DeviceMemory } from './domain/device-dma.js';
export { DmaFault, deviceRead, deviceWrite } from './domain/device-dma.js';
export type { DirtyOperations, IommuDomain, PageOperations, Translation } from './domain/iommu-domain.js';
export { RadixDomain } from './domain/radix-domain.js';
export type { RadixHandle } from './domain/radix-handle.js';
export { RadixReader } from './domain/radix-reader.js';
export { type AreaInTheWay, ERRNO, type ErrorCode, type ErrorReason, IommuError } from './errors.js';
export type {
  Alternative,
  AlternativeStep,
  ExplainedCall,
  ExplainedFailure,
  ExplainedSuccess,
  Explanation,
  PlannedCall,
} from './explain/explanation.js';
export type { ExplainRequest } from './explain/request.js';
export type { FaultInjector, FaultPoint } from './faults.js';
export { InvariantError } from './inspect/check.js';
export type {
  AreaSnapshot,
  DomainSnapshot,
  PagesSnapshot,
  RangeSnapshot,
  TableSnapshot,
} from './inspect/snapshot.js';
export {
  type CopyOptions,
  IoPagetable,
  type IoPagetableOptions,
  type MapFileOptions,
  type MapOptions,
  type ReadDirtyOptions,
} from './io-pagetable.js';
export * from './iommufd/index.js';
export type { DmaBuf } from './memory/dma-buf.js';
export { DmaBufExporter, type DmaBufOptions } from './memory/dma-buf-exporter.js';
export { ForwardingMemory } from './memory/forwarding-memory.js';
export { FrameRuns } from './memory/frame-runs.js';
export { type AccountingMode, LockedMemory } from './memory/locked-memory.js';
export { type FileKind, type FileSeal, MemoryFile, type MemoryFileOptions } from './memory/memory-file.js';
export type { MemoryRegion } from './memory/memory-region.js';
export type { MemoryLayout, MemoryPiece, MemoryWindow } from './memory/memory-window.js';
export type { MemorySource, WebAssemblyMemory } from './memory/page-content.js';
export { PhysicalMemory } from './memory/physical-memory.js';
export { type MmapOptions, ProcessMemory, type ProcessMemoryOptions } from './memory/process-memory.js';
export { SharedFrames, type SharedMemoryHandle, type SharedRange } from './memory/shared-frames.js';
export type { UserFile } from './memory/user-file.js';
export type { PinHolder, PinRecord, UserMemory } from './memory/user-memory.js';
export type { Abortable } from './operation.js';
export { IoptPages, type PagesFile } from './pages/iopt-pages.js';
export type { Protection } from './protection.js';
export { PROFILES, type Profile, type ProfileName } from './rules.js';
export type { PhysicalRange } from './table/contiguous.js';
export type { BitSink } from './table/dirty.js';
export { IoptArea } from './table/iopt-area.js';
export { IovaSpace } from './table/iova-space.js';
export type { ReservedRegion, ReservedRegionType } from './table/reservations.js';
export { MockDomain } from './testing/mock-domain.js';
export type { U64Input } from './u64.js';

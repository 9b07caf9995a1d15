/** What a trace of an iommufd is replayed on, reached in one way or another. */
import { Iommufd } from '../../../iommufd/iommufd.js';
import type { ProcessMemory } from '../../../memory/process-memory.js';
import type { Profile } from '../../../rules.js';
import { TestDriver } from '../../../testing/test-driver.js';
import type { TraceHeader } from './trace-header.js';
import { memoryInspector, type PinInspector } from './trace-target.js';

/** The calls on a context that traces have. */
export type TraceIommufd = Pick<
  Iommufd,
  | 'check'
  | 'close'
  | 'destroy'
  | 'getDirtyBitmap'
  | 'hwptAlloc'
  | 'ioasAlloc'
  | 'ioasAllowIovas'
  | 'ioasCopy'
  | 'ioasIovaRanges'
  | 'ioasMap'
  | 'ioasTable'
  | 'ioasUnmap'
  | 'option'
  | 'setDirtyTracking'
  | 'vfioCheckExtension'
  | 'vfioInfo'
  | 'vfioIoasClear'
  | 'vfioIoasGet'
  | 'vfioIoasSet'
  | 'vfioMap'
  | 'vfioSetIommu'
  | 'vfioUnmap'
>;

/** The operations of the test driver that traces have. */
export type TraceDriver = Pick<
  TestDriver,
  | 'accessPages'
  | 'accessReplaceIoas'
  | 'accessRw'
  | 'addReserved'
  | 'checkMap'
  | 'closeAccess'
  | 'createAccess'
  | 'destroyAccessPages'
  | 'dirty'
  | 'mockDomain'
>;

/** A kernel with one iommufd open. */
export interface TraceKernel {
  readonly iommufd: TraceIommufd;
  readonly driver: TraceDriver;
  readonly inspector: PinInspector;
}

/** Reached by the typed methods. */
export function typedKernel(
  { accounting }: TraceHeader,
  memory: ProcessMemory,
  profile: Profile,
): TraceKernel {
  const iommufd = new Iommufd({ memory, accounting, profile });
  return { iommufd, driver: new TestDriver(iommufd, { memory }), inspector: memoryInspector(memory) };
}

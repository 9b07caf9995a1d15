/** The driver side of a device: what an iommufd asks of the hardware it is given. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { ReservedRegion } from '../table/reservations.js';
import type { ViommuDriver } from './viommu-driver.js';

/** Data of a program's that a driver takes with a call. */
export interface DriverData {
  /** Its type. Data of another one is refused with EOPNOTSUPP. */
  readonly type: number;
  /** The fewest bytes; fewer are refused with EINVAL. */
  readonly least: number;
  /** The most bytes; more are refused with EINVAL. Those that the program left out are 0 for the driver. */
  readonly most: number;
}

/** How a page table is wanted. */
export interface DomainRequest {
  /** What the program told the driver: as many bytes as `pageTableData` says at most. Absent: nothing. */
  readonly data?: Uint8Array | undefined;
  /** The domain must be one that also single address spaces (PASIDs) of a device can be attached to. Absent: no. */
  readonly pasid?: boolean | undefined;
  /** The domain must have `dirty` operations; without this flag it must have none. */
  readonly dirtyTracking: boolean;
  /** The domain is to become the parent of nested page tables. */
  readonly nestParent: boolean;
}

/** What a device tells about its IOMMU. */
export interface HardwareInfo {
  /** Which kind of IOMMU: the number that says how to read `data`. 0 if there is nothing to tell. */
  readonly type: number;
  /** The bytes that the IOMMU's driver gives. */
  readonly data: Uint8Array;
}

/**
 * A device behind an IOMMU. Bring your own; `MockDevice` of `io-pagetable/testing` is the kernel's test device.
 *
 * Its methods answer at once or with a promise. A call of the library waits for such a promise to its end, also when
 * its signal is aborted meanwhile: what the driver did is undone then.
 */
export interface IommuDevice {
  /** What errors call the device. */
  readonly name: string;

  /** Whether the device's IOMMU can track dirty pages. Absent: no. */
  readonly dirtyTracking?: boolean;

  /** Whether the IOMMU makes all accesses of the device cache coherent. Absent: no. */
  readonly enforcesCoherency?: boolean;

  /** IOVA that the device cannot use for mappings. They are reserved while it is attached. */
  readonly reservedRegions?: readonly ReservedRegion[];

  /** Whether the device can translate addresses ahead (ATS). Absent: no. */
  readonly ats?: boolean;

  /** log2 of the largest number of address spaces (PASIDs) the device can use at once. Absent: 0, only one. */
  readonly maxPasidLog2?: number;

  /** What data a page table can be made with. Absent: none; data is refused with EOPNOTSUPP then. */
  readonly pageTableData?: DriverData;

  /** What makes virtual IOMMUs for a guest. Absent: nothing does. */
  readonly viommu?: ViommuDriver;

  /** What `getHwInfo` answers. Absent: type 0, no bytes. */
  readonly hardwareInfo?: HardwareInfo;

  /**
   * Makes an empty domain for the device.
   *
   * @throws the driver's own error, best an `IommuError`; the call that wanted the domain fails with it.
   */
  createDomain(request: DomainRequest): IommuDomain | PromiseLike<IommuDomain>;

  /** The end of a domain that the device made. No device uses it, nothing is mapped in it. */
  freeDomain?(domain: IommuDomain): void | PromiseLike<void>;

  /**
   * From now on the device's accesses are translated by `domain`, which takes the place of the one before.
   *
   * @throws EINVAL if the device cannot use this domain (attaching to an address space then tries the next one);
   * any other error ends the attempt. Nothing has changed then.
   */
  attach?(domain: IommuDomain): void | PromiseLike<void>;

  /** From now on all accesses of the device are blocked. Never fails. */
  detach?(): void | PromiseLike<void>;
}

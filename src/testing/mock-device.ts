/** The kernel's test device. */
import { checkBoolean, checkInteger, checkObject, invalidType } from '../arguments.js';
import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import type { DomainRequest, DriverData, HardwareInfo, IommuDevice } from '../iommufd/iommu-device.js';
import { type ProfileName, readProfile, rulesOf } from '../rules.js';
import { MockDomain } from './mock-domain.js';
import { mockViommuDriver } from './mock-viommu.js';

/** Flags of a mock device. */
export const MOCK_FLAGS = Object.freeze({
  /** Its IOMMU cannot track dirty pages. */
  NO_DIRTY: 1,
  /** Its page tables have pages of 1 MiB, too. Earlier kernels only; later ones are asked by `mockTableData`. */
  HUGE_IOVA: 2,
  /** It can use several address spaces at once (PASIDs). Later kernels only. */
  PASID: 4,
} as const);

/** The type of the data that a mock device's page tables can be made with. */
const TABLE_DATA_TYPE = 0xdead;
/** Bytes of that data: a value of no meaning here, which may come alone, and the type of the page table, both 32 bits. */
const TABLE_DATA_LENGTHS = { least: 4, most: 8 };
const TABLE_TYPE_AT = 4;
const TABLE_TYPES = { ORDINARY: 0, HUGE: 1 };

/**
 * What `Iommufd.hwptAlloc` is to be told for a page table of a mock device, under a kernel that asks for huge pages in this
 * way: `iommufd.hwptAlloc({ device, ioas, data: mockTableData({ huge: true }) })`.
 */
export function mockTableData(options: { readonly huge: boolean }): { type: number; bytes: Uint8Array } {
  checkObject(options, 'options');
  const { huge } = options;
  checkBoolean(huge, 'options.huge');
  const bytes = new Uint8Array(TABLE_DATA_LENGTHS.most);
  bytes[TABLE_TYPE_AT] = huge ? TABLE_TYPES.HUGE : TABLE_TYPES.ORDINARY;
  return { type: TABLE_DATA_TYPE, bytes };
}

/** How a mock device is made. */
export interface MockDeviceOptions {
  /** Its name in errors; default `mock`. */
  readonly name?: string | undefined;
  /** Bits of `MOCK_FLAGS`; default 0. */
  readonly flags?: number | undefined;
  /** Of which kernel it is. By default the newest Linux. */
  readonly profile?: ProfileName | undefined;
}

/** Number of caches of a mock device, and what is in each at first. */
const CACHES = 4;
const CACHED = 0xba_ddad;

/** Bits of a PASID of a device that has them. */
const PASID_BITS = 20;

/** Type and register of the hardware that a mock device pretends to have. */
const HARDWARE_TYPE = 0xfeed_beef;
const HARDWARE_REGISTER = 0xdead_beef;

/**
 * A device that does nothing, whose page tables are `MockDomain`s. It has no reserved regions, and its accesses are
 * not forced to be cache coherent.
 */
export class MockDevice implements IommuDevice {
  readonly name: string;
  readonly dirtyTracking: boolean;
  readonly hardwareInfo: HardwareInfo;
  /** What data its page tables can be made with; absent under kernels that ask for huge pages by a flag. */
  readonly pageTableData?: DriverData;
  readonly maxPasidLog2: number;
  readonly viommu = mockViommuDriver;
  /** What the device pretends to have cached; a guest's invalidations would clear it. */
  readonly caches: readonly number[] = new Array<number>(CACHES).fill(CACHED);
  readonly #huge: boolean;
  readonly #profile: ProfileName | undefined;

  /** @throws EINVAL if `flags` has bits that the kernel does not know. */
  constructor(options: MockDeviceOptions = {}) {
    checkObject(options, 'options');
    const { name = 'mock', flags = 0, profile } = options;
    if (typeof name !== 'string') throw invalidType(name, 'name', 'a string');
    checkInteger(flags, 'flags', 0, 0xffff_ffff);
    const rules = rulesOf(readProfile(profile, 'options.profile'));
    if (flags & ~rules.testDeviceFlags) {
      throw refuse('EINVAL', 'argument', `flags 0x${flags.toString(16)} are not all known`);
    }
    this.name = name;
    this.dirtyTracking = (flags & MOCK_FLAGS.NO_DIRTY) === 0;
    this.#huge = (flags & MOCK_FLAGS.HUGE_IOVA) !== 0;
    this.#profile = profile;
    if (rules.testHugePages === 'table-data') {
      this.pageTableData = { type: TABLE_DATA_TYPE, ...TABLE_DATA_LENGTHS };
    }
    const data = new Uint8Array(8);
    new DataView(data.buffer).setUint32(4, HARDWARE_REGISTER, true);
    this.maxPasidLog2 = (flags & MOCK_FLAGS.PASID) === 0 ? 0 : PASID_BITS;
    this.hardwareInfo = { type: HARDWARE_TYPE, data };
  }

  /** @throws EOPNOTSUPP if the data asks for another page table than an ordinary one or one with huge pages. */
  createDomain({ dirtyTracking, data }: DomainRequest): MockDomain {
    const huge = this.#huge || asksForHuge(data);
    return new MockDomain({ profile: this.#profile, huge, dirty: dirtyTracking });
  }

  /** @throws a plain `Error` if something is still mapped. */
  freeDomain(domain: MockDomain): void {
    domain.free();
  }

  /** @throws EINVAL if the domain is of another IOMMU, or tracks dirty pages and the device cannot. */
  attach(domain: IommuDomain): void {
    if (!(domain instanceof MockDomain)) {
      throw refuse('EINVAL', 'domain', `device ${this.name} cannot use a page table of another IOMMU`);
    }
    if (domain.dirty !== undefined && !this.dirtyTracking) {
      throw refuse('EINVAL', 'domain', `device ${this.name} cannot use a page table that tracks dirty pages`);
    }
  }
}

function asksForHuge(data: Uint8Array | undefined): boolean {
  if (data === undefined) return false;
  const type = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(TABLE_TYPE_AT, true);
  if (type !== TABLE_TYPES.ORDINARY && type !== TABLE_TYPES.HUGE) {
    throw refuse('EOPNOTSUPP', 'unsupported', `page tables of type ${type} are not known`);
  }
  return type === TABLE_TYPES.HUGE;
}

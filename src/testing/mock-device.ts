/** The kernel's test device. */
import { checkInteger, checkObject, invalidType } from '../arguments.js';
import { refuse } from '../errors.js';
import type { DomainRequest, HardwareInfo, IommuDevice } from '../iommufd/iommu-device.js';
import { MockDomain } from './mock-domain.js';

/** Flags of a mock device. */
export const MOCK_FLAGS = Object.freeze({
  /** Its IOMMU cannot track dirty pages. */
  NO_DIRTY: 1,
  /** Its page tables have pages of 1 MiB, too. */
  HUGE_IOVA: 2,
} as const);

/** How a mock device is made. */
export interface MockDeviceOptions {
  /** Its name in errors; default `mock`. */
  readonly name?: string | undefined;
  /** Bits of `MOCK_FLAGS`; default 0. */
  readonly flags?: number | undefined;
}

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
  readonly #huge: boolean;

  /** @throws EINVAL if `flags` has unknown bits. */
  constructor(options: MockDeviceOptions = {}) {
    checkObject(options, 'options');
    const { name = 'mock', flags = 0 } = options;
    if (typeof name !== 'string') throw invalidType(name, 'name', 'a string');
    checkInteger(flags, 'flags', 0, 0xffff_ffff);
    if (flags & ~(MOCK_FLAGS.NO_DIRTY | MOCK_FLAGS.HUGE_IOVA)) {
      throw refuse('EINVAL', 'argument', `flags 0x${flags.toString(16)} are not all known`);
    }
    this.name = name;
    this.dirtyTracking = (flags & MOCK_FLAGS.NO_DIRTY) === 0;
    this.#huge = (flags & MOCK_FLAGS.HUGE_IOVA) !== 0;
    const data = new Uint8Array(8);
    new DataView(data.buffer).setUint32(4, HARDWARE_REGISTER, true);
    this.hardwareInfo = { type: HARDWARE_TYPE, data };
  }

  createDomain({ dirtyTracking }: DomainRequest): MockDomain {
    return new MockDomain({ huge: this.#huge, dirty: dirtyTracking });
  }

  /** @throws a plain `Error` if something is still mapped. */
  freeDomain(domain: MockDomain): void {
    domain.free();
  }

  /** @throws EINVAL if the domain tracks dirty pages and the device cannot. */
  attach(domain: MockDomain): void {
    if (domain.dirty !== undefined && !this.dirtyTracking) {
      throw refuse('EINVAL', 'domain', `device ${this.name} cannot use a page table that tracks dirty pages`);
    }
  }
}

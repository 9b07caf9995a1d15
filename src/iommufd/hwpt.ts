/** A hardware page table as an object of a context. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { BoundDevice } from './bound-device.js';
import type { Ioas } from './ioas.js';
import type { IommuDevice } from './iommu-device.js';
import { countOf, IommufdObject } from './object-table.js';

/** How a page table came to be and what it can do. */
export interface HwPagetableTraits {
  /** Made by attaching a device to an address space; it goes with its last device. */
  readonly automatic: boolean;
  /** Made to be the parent of nested page tables. */
  readonly nestParent: boolean;
  /** The device that made the domain. */
  readonly maker: IommuDevice;
}

/**
 * A page table (HWPT): a domain that mirrors an address space. Attached devices keep it in use.
 *
 * @internal
 */
export class HwPagetable extends IommufdObject {
  static readonly kind = 'page table';
  readonly kind = HwPagetable.kind;
  readonly ioas: Ioas;
  readonly domain: IommuDomain;
  readonly traits: HwPagetableTraits;
  /** The devices that are attached. */
  readonly devices = new Set<BoundDevice>();

  constructor(id: number, ioas: Ioas, domain: IommuDomain, traits: HwPagetableTraits) {
    super(id);
    this.ioas = ioas;
    this.domain = domain;
    this.traits = traits;
  }

  describeUsers(): string {
    return `${countOf(this.devices.size, 'device')} attached`;
  }

  override exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.ioas.exclusively(work);
  }

  async dispose(): Promise<void> {
    const { ioas } = this;
    await ioas.table.removeDomain(this.domain);
    ioas.hwpts.splice(ioas.hwpts.indexOf(this), 1);
    ioas.users -= 1;
    this.traits.maker.freeDomain?.(this.domain);
  }
}

/**
 * Lets a new domain mirror an address space, whose `exclusively` the caller is inside.
 *
 * @throws as `IoPagetable.addDomain`
 *
 * @internal
 */
export async function addHwpt(
  id: number,
  ioas: Ioas,
  domain: IommuDomain,
  traits: HwPagetableTraits,
): Promise<HwPagetable> {
  await ioas.table.addDomain(domain);
  const hwpt = new HwPagetable(id, ioas, domain, traits);
  ioas.hwpts.push(hwpt);
  ioas.users += 1;
  return hwpt;
}

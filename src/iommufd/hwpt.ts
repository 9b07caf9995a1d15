/** A hardware page table as an object of a context. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { Operation } from '../operation.js';
import type { Driver } from './driver.js';
import type { Ioas, PageTable, PageTableTraits } from './ioas.js';
import { countOf, IommufdObject } from './object-table.js';

/**
 * A page table (HWPT): a domain that mirrors an address space. Attached devices and virtual IOMMUs keep it in use.
 *
 * @internal
 */
export class HwPagetable extends IommufdObject implements PageTable {
  static readonly kind = 'page table';
  readonly kind = HwPagetable.kind;
  readonly ioas: Ioas;
  readonly domain: IommuDomain;
  readonly traits: PageTableTraits;
  readonly devices = new Set<IommufdObject>();
  /** The virtual IOMMUs whose guests' memory is mapped here. */
  readonly viommus = new Set<IommufdObject>();
  readonly #driver: Driver;

  constructor(
    id: number,
    ioas: Ioas,
    domain: IommuDomain,
    driver: Driver,
    traits: Omit<PageTableTraits, 'maker'>,
  ) {
    super(id);
    this.ioas = ioas;
    this.domain = domain;
    this.traits = { ...traits, maker: driver.device };
    this.#driver = driver;
  }

  describeUsers(): string {
    const devices = countOf(this.devices.size, 'device');
    return `${devices} attached and ${countOf(this.viommus.size, 'virtual IOMMU')}`;
  }

  override exclusively<T>(operation: Operation<T>): Operation<T> {
    return this.ioas.exclusively(operation);
  }

  /**
   * Lets the domain mirror the address space, whose `exclusively` the caller is inside.
   *
   * @throws as `IoPagetable.addDomain`
   */
  *mirror(): Operation<void> {
    const { ioas, domain } = this;
    yield* ioas.table.addingDomain(domain);
    ioas.hwpts.add(this);
    ioas.users += 1;
  }

  /** The reverse of `mirror`. */
  *unmirror(): Operation<void> {
    yield* this.release();
    this.#leave();
  }

  override *release(): Operation<void> {
    const { table } = this.ioas;
    try {
      yield* table.removingDomain(this.domain);
    } catch (error) {
      if (table.domains.includes(this.domain)) throw error;
      this.complaint = { error };
    }
  }

  override *dispose(): Operation<void> {
    this.#leave();
    yield* this.#driver.freeDomain(this.domain);
  }

  #leave(): void {
    this.ioas.hwpts.delete(this);
    this.ioas.users -= 1;
  }
}

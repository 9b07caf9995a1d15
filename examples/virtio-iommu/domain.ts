/**
 * A virtio-iommu domain: an IOVA space that endpoints share.
 */
import { IommuError, IoPagetable, type Protection, RadixDomain, type ReservedRegion } from 'io-pagetable';
import type { GuestRam } from '../virtio/device-memory.js';
import type { Endpoint } from './endpoint.js';
import { MAP_READ, MAP_WRITE, type MapRequest, type UnmapRequest } from './protocol.js';

/** What a domain translates (`input_range` of the device's configuration), both bounds inclusive. */
export const INPUT_RANGE = { start: 0n, last: 2n ** 48n - 1n };
/** Sizes of its pages (`page_size_mask` of the device's configuration). */
export const PAGE_SIZES: readonly bigint[] = [1n << 12n, 1n << 21n, 1n << 30n];

/** A domain. It is there as long as an endpoint is attached to it. */
export class Domain {
  readonly number: number;
  /** What the hardware does: the page table that DMA goes through. */
  readonly translation: RadixDomain;
  readonly endpoints = new Set<Endpoint>();
  readonly #table: IoPagetable;
  readonly #ram: GuestRam;

  private constructor(number: number, ram: GuestRam) {
    this.number = number;
    this.#ram = ram;
    this.#table = new IoPagetable({ memory: ram.memory });
    this.translation = new RadixDomain({ aperture: INPUT_RANGE, pageSizes: PAGE_SIZES });
  }

  static async create(number: number, ram: GuestRam): Promise<Domain> {
    const domain = new Domain(number, ram);
    await domain.#table.addDomain(domain.translation);
    return domain;
  }

  /** Lets an endpoint in. @throws IommuError EADDRINUSE if something is mapped where it can do no DMA */
  async attach(endpoint: Endpoint): Promise<void> {
    const regions = endpoint.reserved.map(
      ({ subtype, start, end }): ReservedRegion => ({ start, length: end - start + 1n, type: subtype }),
    );
    await this.#table.enforceReservedRegions(endpoint, regions);
    this.endpoints.add(endpoint);
    endpoint.domain = this;
  }

  /** Lets an endpoint go. With the last one all mappings go, and their pages are unpinned. */
  async detach(endpoint: Endpoint): Promise<void> {
    // It may be in its next domain already.
    if (endpoint.domain === this) endpoint.domain = undefined;
    this.endpoints.delete(endpoint);
    await this.#table.removeReservedIova(endpoint);
    if (this.endpoints.size > 0) return;
    await this.#table.unmapAll();
    await this.#table.removeDomain(this.translation);
  }

  /** @throws IommuError as `IoPagetable.map`; EFAULT if the physical range is not all RAM */
  async map({ start, end, physical, flags }: MapRequest): Promise<void> {
    const length = end - start + 1n;
    const uptr = this.#ram.userAddress(physical, length);
    await this.#table.map({ iova: start, uptr, length, prot: protectionOf(flags) });
  }

  /**
   * Unmaps what is wholly inside the range; nothing being there is fine.
   *
   * @throws IommuError ENOENT if a mapping reaches outside the range. Nothing is unmapped then.
   */
  async unmap({ start, end }: UnmapRequest): Promise<void> {
    // Nothing can be mapped outside, and the range of a request may be all 2^64 bytes, which no length expresses.
    const last = end < INPUT_RANGE.last ? end : INPUT_RANGE.last;
    if (start > last) return;
    const range = { iova: start, length: last - start + 1n };
    // The kernel's unmap stops where it fails, with earlier areas gone; virtio wants all or nothing.
    const plan = await this.#table.explain({ call: 'unmap', ...range });
    if (!plan.ok) throw new IommuError(plan.code, plan.reason);
    await this.#table.unmap(range.iova, range.length);
  }

  /** @throws InvariantError if the table is not in order */
  check(): void {
    this.#table.check();
  }
}

function protectionOf(flags: number): Protection {
  const read = (flags & MAP_READ) !== 0 ? 'r' : '';
  const write = (flags & MAP_WRITE) !== 0 ? 'w' : '';
  return `${read}${write}`;
}

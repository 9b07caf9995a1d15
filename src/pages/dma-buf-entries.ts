/**
 * Where a dma-buf is mapped: the areas and domains that have entries of it, until its exporter takes them back.
 *
 * The exporter does so at any moment, and without a lock: entries are entered and taken out without a wait.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { FaultInjector } from '../faults.js';
import type { DmaBuf } from '../memory/dma-buf.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { beginFlushes } from './flush.js';
import type { MappedArea } from './mapped-area.js';
import { mapArea, unmapArea } from './translations.js';

/** A dma-buf behind pages, and the entries that domains have of it. */
export class DmaBufEntries {
  readonly buffer: DmaBuf;
  /** `invalidations` of the dma-buf when it was mapped. */
  readonly #made: number;
  readonly #entries = new Map<MappedArea, Set<IommuDomain>>();
  #stopListening: (() => void) | undefined;

  constructor(buffer: DmaBuf) {
    this.buffer = buffer;
    this.#made = buffer.invalidations;
  }

  /** Whether the exporter has taken the mapping back, for good. */
  get revoked(): boolean {
    return this.buffer.invalidations !== this.#made;
  }

  /** Whether a domain has entries of an area. */
  has(area: MappedArea, domain: IommuDomain): boolean {
    return this.#entries.get(area)?.has(domain) ?? false;
  }

  /** How many entries of areas domains have in all. */
  get size(): number {
    let size = 0;
    for (const domains of this.#entries.values()) size += domains.size;
    return size;
  }

  /** Maps the frames of an area into a domain, or nothing if they were revoked. @throws what the domain's `map` throws */
  enter(
    area: MappedArea,
    domain: IommuDomain,
    frames: FrameRuns,
    largePages: boolean,
    faults: FaultInjector | undefined,
  ): void {
    if (this.revoked) return;
    mapArea(domain, area, frames, largePages, faults);
    // The domain's own code may have had the exporter take it back.
    if (this.revoked) {
      unmapArea(domain, area);
      return;
    }
    const domains = this.#entries.get(area) ?? new Set();
    this.#entries.set(area, domains.add(domain));
    this.#stopListening ??= this.buffer.onInvalidate(() => this.#revoke());
  }

  /** Unmaps an area from a domain, if it has entries of it. */
  leave(area: MappedArea, domain: IommuDomain): void {
    const domains = this.#entries.get(area);
    if (!domains?.has(domain)) return;
    unmapArea(domain, area);
    domains.delete(domain);
    if (domains.size === 0) this.#entries.delete(area);
    if (this.#entries.size === 0) this.#stop();
  }

  #revoke(): void | PromiseLike<void> {
    const flushed = new Set<IommuDomain>();
    for (const [area, domains] of [...this.#entries]) {
      for (const domain of [...domains]) {
        flushed.add(domain);
        this.leave(area, domain);
      }
    }
    const flushes = beginFlushes([...flushed]);
    return flushes && Promise.all(flushes).then(() => undefined);
  }

  #stop(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
  }
}

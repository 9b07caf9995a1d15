/**
 * An IOVA space as the layers above the table know it.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { FaultInjector } from '../faults.js';
import type { Profile } from '../rules.js';
import { TableState } from './table-state.js';

/** What can be asked of any page table without waiting. `IoPagetable` is one. */
export class IovaSpace {
  /** @internal */
  readonly state: TableState;

  /** @internal */
  constructor(profile: Profile, faults?: FaultInjector) {
    this.state = new TableState(profile, faults);
  }

  /** Which kernel's behaviour the table has. */
  get profile(): Profile {
    return this.state.profile;
  }

  /** What every area's IOVA, length and page offset is a multiple of, in bytes: a power of two up to 4096. */
  get alignment(): number {
    return this.state.alignment;
  }

  /** Whether domains may use page sizes above 4096 bytes. */
  get largePages(): boolean {
    return this.state.largePages;
  }

  /** The attached domains. Their order is the kernel's: a removed one's place is taken by the last. */
  get domains(): readonly IommuDomain[] {
    return [...this.state.domains];
  }

  /** Number of areas, also those that are being set up or torn down. */
  get areaCount(): number {
    return this.state.areas.size;
  }
}

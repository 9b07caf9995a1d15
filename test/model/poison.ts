/**
 * Domains that refuse to map anything at one IOVA: faults that hit the same area whatever the requests look like.
 */
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import type { Profile } from '../../src/rules.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import type { MapRequest } from './map-requests.js';
import type { Range } from './naive-ranges.js';

/** The IOVA that a domain refuses to map; `undefined`: none. */
export interface Poison {
  at: bigint | undefined;
}

/** ENOENT, as the kernel's own mock domain answers when it is told to fail. */
function refuseAt(poison: Poison, { iova, size }: MapRequest): void {
  if (poison.at === undefined || poison.at < iova || poison.at >= iova + size) return;
  throw new IommuError('ENOENT', { check: 'fault', detail: 'poisoned' });
}

/**
 * The mock domain of a kernel.
 *
 * @param onMap - called with every request, also the refused one
 */
export function poisonedMock(
  profile: Profile,
  poison: Poison,
  dirty: boolean,
  onMap: (request: MapRequest) => void,
): MockDomain {
  return new MockDomain({
    profile,
    dirty,
    onMap({ iova, pageSize, count }) {
      const request = { iova, size: pageSize * count };
      onMap(request);
      refuseAt(poison, request);
    },
  });
}

/** A radix domain that offers nothing but the operations on addresses. */
export function poisonedRadix(poison: Poison, aperture: Range): IommuDomain {
  const radix = new RadixDomain({ aperture, pageSizes: [4096] });
  return {
    pageSizeBitmap: radix.pageSizeBitmap,
    aperture: radix.aperture,
    map(iova, physical, size, protection) {
      refuseAt(poison, { iova, size });
      radix.map(iova, physical, size, protection);
    },
    unmap: (iova, size) => radix.unmap(iova, size),
    iovaToPhys: (iova) => radix.iovaToPhys(iova),
  };
}

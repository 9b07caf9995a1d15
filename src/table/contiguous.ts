/** Physically consecutive bytes behind an IOVA. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { translationOf } from '../domain/translate.js';
import { type IommuError, notMapped, refuse } from '../errors.js';
import type { Operation } from '../operation.js';
import { type Address, join } from '../u64.js';
import { areaAt } from './area-lookup.js';
import type { TableState } from './table-state.js';

/** Bytes of physical memory that are one after the other. */
export interface PhysicalRange {
  /** Address of the first byte. */
  readonly physical: bigint;
  /** Number of bytes. */
  readonly length: bigint;
}

/**
 * Where an IOVA leads by the first domain, and how many bytes from there on are consecutive, inside its area.
 *
 * @param most - bytes that are asked for, at least 1
 * @param check - refuses the first domain, if there is one, before it is read
 * @throws ENOENT if nothing is mapped there, EINVAL if that is a dma-buf that has been taken back, what `check` throws.
 */
export function* readContiguous(
  table: TableState,
  iova: Address,
  most: bigint,
  check: (domain: IommuDomain | undefined) => IommuDomain,
): Operation<PhysicalRange> {
  const { domainsLock, iovaLock } = table;
  if (!domainsLock.tryRead()) yield () => domainsLock.read();
  try {
    if (!iovaLock.tryRead()) yield () => iovaLock.read();
    try {
      return contiguousFrom(table, iova, most, check);
    } finally {
      iovaLock.releaseRead();
    }
  } finally {
    domainsLock.releaseRead();
  }
}

function contiguousFrom(
  table: TableState,
  iova: Address,
  most: bigint,
  check: (domain: IommuDomain | undefined) => IommuDomain,
): PhysicalRange {
  const area = areaAt(table.areas, iova);
  if (area === undefined) throw notMapped(iova);
  // The exporter takes it back at any moment: what is read of the domain below does not wait.
  if (area.pages?.dmaBuf?.revoked) throw takenBack();
  const domain = check(table.domains[0]);
  const first = join(iova.page, iova.offset);
  const inArea = area.lastIova - first + 1n;
  const limit = most < inArea ? most : inArea;
  const start = translationOf(domain, first);
  if (start === undefined) throw takenBack();
  let length = start.length;
  while (length < limit) {
    const next = translationOf(domain, first + length);
    if (next?.physical !== start.physical + length) break;
    length += next.length;
  }
  return { physical: start.physical, length: length < limit ? length : limit };
}

function takenBack(): IommuError {
  return refuse('EINVAL', 'state', 'what was mapped there has been taken back');
}

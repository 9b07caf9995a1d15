/**
 * The IOVA alignment of a table: what its domains, its accesses and the large-pages option demand together.
 */
import type { DomainGeometry } from '../domain/iommu-domain.js';
import { IommuError, refuse } from '../errors.js';
import { firstOf, hex, lengthOf, PAGE_SIZE } from '../u64.js';
import { describeArea, type IoptArea } from './iopt-area.js';
import type { AttachedAccess, TableState } from './table-state.js';

/** The smallest page size of a domain in bytes. */
export function ioPageSize({ pageSizeBitmap }: DomainGeometry): number {
  return Number(pageSizeBitmap & -pageSizeBitmap);
}

/** The alignment in force, from scratch. */
export function requiredAlignment(table: TableState): number {
  let alignment = table.largePages ? 1 : PAGE_SIZE;
  for (const geometry of table.geometries.values()) alignment = Math.max(alignment, ioPageSize(geometry));
  for (const access of table.accesses) {
    if (access !== undefined) alignment = Math.max(alignment, accessAlignment(table, access));
  }
  return alignment;
}

/** What an access demands of a table. */
export function accessAlignment(table: TableState, access: AttachedAccess): number {
  return table.rules.accessesAlign ? access.iovaAlignment : 1;
}

/**
 * Checks that all areas, also half-initialised ones, conform to an alignment.
 *
 * @throws EINVAL if it is above 4096, EADDRINUSE naming the first area that does not conform.
 */
export function checkAlignment(table: TableState, alignment: number): void {
  if (alignment > PAGE_SIZE) {
    throw refuse('EINVAL', 'domain', `io pages of ${alignment} bytes are larger than the CPU's ${PAGE_SIZE}`);
  }
  if (alignment <= table.alignment) return;
  for (const area of table.areas) {
    const misfit = misalignedPart(area, alignment);
    if (misfit !== undefined) {
      throw new IommuError('EADDRINUSE', {
        check: 'alignment',
        what: misfit.what,
        value: hex(misfit.value),
        alignment,
        area: describeArea(area),
      });
    }
  }
}

/** The first of an area's IOVA, length and page offset that is not a multiple of `alignment`. */
export function misalignedPart(area: IoptArea, alignment: number) {
  const mask = alignment - 1;
  if (area.offset & mask) return { what: 'iova', value: firstOf(area) };
  const length = lengthOf(area);
  if (length.offset & mask) return { what: 'length', value: length };
  if (area.pageOffset & mask) return { what: 'page offset', value: { page: 0, offset: area.pageOffset } };
  return undefined;
}

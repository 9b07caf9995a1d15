/** What a domain, whoever's it is, says of an address. */
import { refuse } from '../errors.js';
import { READ, WRITE } from '../protection.js';
import { hex } from '../u64.js';
import type { IommuDomain, Translation } from './iommu-domain.js';

/**
 * What a device's access to `iova` meets, or `undefined` if nothing is mapped there. A domain that keeps no permissions
 * grants all of them.
 *
 * @throws EFAULT if the domain gives what is no translation
 */
export function translationOf(
  domain: Pick<IommuDomain, 'pageSizeBitmap' | 'iovaToPhys' | 'translate'>,
  iova: bigint,
): Translation | undefined {
  const found = domain.translate === undefined ? grantingAll(domain, iova) : domain.translate(iova);
  if (found === undefined) return undefined;
  const { physical, protection, length } = found;
  if (typeof physical === 'bigint' && physical >= 0n && typeof length === 'bigint' && length > 0n) {
    return { physical, protection, length };
  }
  throw refuse('EFAULT', 'domain', `the domain gave no translation of IOVA ${hex(iova)}, but something else`);
}

function grantingAll(
  domain: Pick<IommuDomain, 'pageSizeBitmap' | 'iovaToPhys'>,
  iova: bigint,
): Translation | undefined {
  const physical = domain.iovaToPhys(iova);
  if (physical === undefined) return undefined;
  const { pageSizeBitmap } = domain;
  const ioPage = typeof pageSizeBitmap === 'bigint' ? pageSizeBitmap & -pageSizeBitmap : 0n;
  const length = ioPage === 0n ? 0n : ioPage - (iova % ioPage);
  return { physical, protection: READ | WRITE, length };
}

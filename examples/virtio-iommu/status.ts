/**
 * What the library's errors are in virtio-iommu.
 */
import { IommuError } from 'io-pagetable';
import type { StatusName } from './protocol.js';

/** The status that tells a driver of an error. @throws what is no error of the library */
export function statusOf(error: unknown): StatusName {
  if (!(error instanceof IommuError)) throw error;
  switch (error.reason.check) {
    case 'overlap':
    case 'reserved':
      return 'INVAL';
    case 'alignment':
    case 'partial-area':
      return 'RANGE';
    case 'memory':
      return 'FAULT';
    case 'locked-memory':
      return 'NOMEM';
    default:
      return error.code === 'ENOMEM' ? 'NOMEM' : 'DEVERR';
  }
}

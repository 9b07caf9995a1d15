/**
 * Flushing domains: waiting until no device uses what was unmapped from them.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { isThenable, mustWait, type Operation } from '../operation.js';

/** Waits until no device uses what was unmapped from domains. It cannot be stopped, as what was unmapped is gone. */
export function* flushDomains(domains: readonly IommuDomain[]): Operation<void> {
  const flushes = beginFlushes(domains);
  if (flushes !== undefined) yield mustWait(() => Promise.all(flushes));
}

/** Has domains flushed; `undefined` if none of them makes the caller wait. */
export function beginFlushes(domains: readonly IommuDomain[]): PromiseLike<void>[] | undefined {
  let flushes: PromiseLike<void>[] | undefined;
  for (const domain of domains) {
    if (domain.flush === undefined) continue;
    const answer = flush(domain);
    if (isThenable(answer)) flushes = [...(flushes ?? []), answer];
  }
  return flushes;
}

/** Whether an unmap from these domains may have to wait for devices. */
export function mayHaveToFlush(domains: readonly IommuDomain[]): boolean {
  for (const domain of domains) if (domain.flush !== undefined) return true;
  return false;
}

/** A flush that throws is one that rejects: what was unmapped is gone, and may be in use. */
function flush(domain: IommuDomain): PromiseLike<void> | void {
  try {
    return domain.flush?.();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** The kernel test driver's dma-bufs. */
import { refuse } from '../errors.js';
import { DmaBufExporter } from '../memory/dma-buf-exporter.js';
import type { PhysicalMemory } from '../memory/physical-memory.js';
import { PAGE_SIZE } from '../u64.js';

/** Bytes that a dma-buf of the test driver has at most. */
const MOST_BYTES = 2 * 1024 * 1024;

/** A dma-buf that the test driver has made. */
export class MockDmaBuf extends DmaBufExporter {
  /**
   * @param length - its size in bytes, which is rounded up to whole pages
   * @param physical - the machine that it is in
   * @throws EINVAL if the length is 0 or above 2 MiB
   */
  constructor(length: number, physical: PhysicalMemory | undefined) {
    const size = Math.ceil(length / PAGE_SIZE) * PAGE_SIZE;
    if (size === 0 || size > MOST_BYTES) {
      throw refuse('EINVAL', 'argument', `a dma-buf of the test driver cannot have ${length} bytes`);
    }
    super({ size, physical });
  }

  /** Takes back what is mapped, also (a slip of the kernel's) when new mappings are to be accepted again. */
  async setRevoked(revoked: boolean): Promise<void> {
    if (revoked) return await this.revoke();
    this.restore();
    await this.invalidate();
  }
}

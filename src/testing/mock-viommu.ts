/** The kernel test driver's virtual IOMMU. */
import { refuse } from '../errors.js';
import type { HardwareQueue, ViommuDriver, ViommuRequest, VirtualIommu } from '../iommufd/viommu-driver.js';
import { PAGE_SIZE } from '../u64.js';

/** Type of the test driver's virtual IOMMU, and of its hardware queues. */
const MOCK_VIOMMU_TYPE = 0xdead_beef;
/** Bytes of the window that a virtual IOMMU has if it is made with data. */
const WINDOW_LENGTH = 2 * PAGE_SIZE;
/** Offsets in the data, and of what it answers. */
const DATA = { in: 0, out: 4, windowOffset: 8, windowLength: 16 } as const;
const LEAST_DATA = 8;
const MOST_DATA = 24;

/** The queues that a virtual IOMMU has room for; the second one needs the first. */
const FIRST = 0;
const SECOND = 1;

/** A virtual IOMMU with room for two queues, which do nothing. */
class MockViommu implements VirtualIommu {
  readonly queueType = MOCK_VIOMMU_TYPE;
  readonly #slots: (HardwareQueue | undefined)[] = [undefined, undefined];

  addQueue(queue: HardwareQueue): HardwareQueue | undefined {
    const { index } = queue;
    if (index > SECOND) throw refuse('EINVAL', 'argument', `there is no queue ${index}`);
    if (this.#slots[index] !== undefined) throw refuse('EEXIST', 'state', `queue ${index} is there`);
    const first = this.#slots[FIRST];
    if (index === SECOND && first === undefined) throw refuse('EIO', 'state', 'there is no queue 0 yet');
    this.#slots[index] = queue;
    return index === SECOND ? first : undefined;
  }

  /** A slip of the kernel's: the end of any queue makes room for another first one, and of none for a second one. */
  removeQueue(): void {
    this.#slots[FIRST] = undefined;
  }
}

/** Makes the virtual IOMMUs of mock devices. */
export const mockViommuDriver: ViommuDriver = {
  type: MOCK_VIOMMU_TYPE,
  data: { least: LEAST_DATA, most: MOST_DATA },
  create({ data, addWindow }: ViommuRequest): VirtualIommu {
    if (data !== undefined) {
      const window = new Uint8Array(WINDOW_LENGTH);
      const told = data.slice(DATA.in, DATA.out);
      window.set(told);
      const view = new DataView(data.buffer, data.byteOffset);
      data.set(told, DATA.out);
      view.setBigUint64(DATA.windowOffset, addWindow(window), true);
      view.setBigUint64(DATA.windowLength, BigInt(WINDOW_LENGTH), true);
    }
    return new MockViommu();
  },
};

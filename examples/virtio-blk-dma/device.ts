/**
 * A virtio block device (virtio 1.2, section 5.2) that reaches its queue and its data by IOVA, through an access.
 */
import { IommuError } from 'io-pagetable';
import { type Chain, DeviceQueue } from '../virtio/device-queue.js';
import type { SplitVirtqueue } from '../virtio/split-virtqueue.js';
import { HEADER_SIZE, RequestType, SECTOR_SIZE, Status } from './protocol.js';

/** A disk. A request is a chain: the header, the data, and one byte that the device writes the status to. */
export class VirtioBlock {
  readonly #queue: DeviceQueue;
  readonly #disk: Uint8Array;

  /** @param disk - what is on it: whole sectors */
  constructor(queue: SplitVirtqueue, disk: Uint8Array) {
    this.#queue = new DeviceQueue(queue);
    this.#disk = disk;
  }

  /**
   * The driver's notification: works off all requests, now, as an MMIO handler has to.
   *
   * @throws BrokenQueueError, or IommuError if the IOMMU does not let the device have the queue: it needs a reset
   */
  notify(): void {
    for (let chain = this.#queue.take(); chain !== undefined; chain = this.#queue.take()) {
      this.#queue.give(chain, this.#serve(chain));
    }
  }

  /** Answers one request; gives how many bytes were written. */
  #serve(chain: Chain): number {
    const room = chain.writable.length - 1;
    if (room < 0) return 0;
    const { status, written } = orIoError(() => this.#execute(chain, room));
    // The status is the last byte; a driver that left it out of the IOMMU waits for it in vain.
    const answered = orIoError(() => {
      chain.writable.write(room, Uint8Array.of(status));
      return { status, written: written + 1 };
    });
    return answered.written;
  }

  #execute({ readable, writable }: Chain, room: number): Outcome {
    if (readable.length < HEADER_SIZE) return IO_ERROR;
    const header = new DataView(readable.read(0, HEADER_SIZE).buffer);
    const type = header.getUint32(0, true);
    const start = header.getBigUint64(8, true) * BigInt(SECTOR_SIZE);
    switch (type) {
      case RequestType.IN: {
        const data = this.#sectors(start, room);
        if (data === undefined) return IO_ERROR;
        writable.write(0, data);
        return { status: Status.OK, written: room };
      }
      case RequestType.OUT: {
        const data = this.#sectors(start, readable.length - HEADER_SIZE);
        if (data === undefined) return IO_ERROR;
        data.set(readable.read(HEADER_SIZE, data.length));
        return DONE;
      }
      case RequestType.FLUSH:
        return DONE;
      default:
        return { status: Status.UNSUPP, written: 0 };
    }
  }

  /** A live view of whole sectors; `undefined` if they are not all there. */
  #sectors(start: bigint, length: number): Uint8Array | undefined {
    if (length % SECTOR_SIZE !== 0 || start + BigInt(length) > BigInt(this.#disk.length)) return undefined;
    return this.#disk.subarray(Number(start), Number(start) + length);
  }
}

interface Outcome {
  readonly status: number;
  /** Bytes of data that the device wrote. */
  readonly written: number;
}

const DONE: Outcome = { status: Status.OK, written: 0 };
const IO_ERROR: Outcome = { status: Status.IOERR, written: 0 };

/** What the access refuses (not mapped: ENOENT; no permission: EPERM …) is an I/O error of the request. */
function orIoError(step: () => Outcome): Outcome {
  try {
    return step();
  } catch (error) {
    if (error instanceof IommuError) return IO_ERROR;
    throw error;
  }
}

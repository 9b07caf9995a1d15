/**
 * A guest's driver for the disk. It knows guest physical addresses; what it writes into descriptors are IOVAs.
 */
import type { GuestRam } from '../virtio/device-memory.js';
import { DriverQueue } from '../virtio/driver-queue.js';
import type { SplitVirtqueue } from '../virtio/split-virtqueue.js';
import { encodeHeader, HEADER_SIZE, RequestType } from './protocol.js';

/** A piece of data, as the device knows it. */
export interface Segment {
  readonly iova: bigint;
  readonly length: number;
}

/** What a driver is made of. */
export interface BlockDriverOptions {
  readonly ram: GuestRam;
  readonly queue: SplitVirtqueue;
  /** Where header and status are: the guest physical address, and the IOVA it is mapped at. */
  readonly control: { readonly physical: bigint; readonly iova: bigint };
  /** Notifies the device. */
  readonly notify: () => void;
}

/** How a request ended. */
export interface Completion {
  /** `undefined` if the device could not write it. */
  readonly status: number | undefined;
  /** Bytes that the device wrote, the status included. */
  readonly written: number;
}

/** No device writes this. */
const NO_STATUS = 0xff;

/** A driver with one request at a time. */
export class BlockDriver {
  readonly #options: BlockDriverOptions;
  readonly #queue: DriverQueue;

  constructor(options: BlockDriverOptions) {
    this.#options = options;
    this.#queue = new DriverQueue(options.queue);
  }

  /** Reads sectors from `sector` on into memory. */
  read(sector: bigint, into: readonly Segment[]): Completion {
    return this.request(RequestType.IN, sector, into);
  }

  /** Writes sectors from `sector` on from memory. */
  write(sector: bigint, from: readonly Segment[]): Completion {
    return this.request(RequestType.OUT, sector, from);
  }

  /** Any request. */
  request(type: number, sector: bigint, data: readonly Segment[]): Completion {
    const { ram, control, notify } = this.#options;
    const statusAt = BigInt(HEADER_SIZE);
    ram.write(control.physical, encodeHeader(type, sector));
    ram.write(control.physical + statusAt, Uint8Array.of(NO_STATUS));
    const deviceWrites = type !== RequestType.OUT;
    this.#queue.add([
      { address: control.iova, length: HEADER_SIZE, deviceWrites: false },
      ...data.map(({ iova, length }) => ({ address: iova, length, deviceWrites })),
      { address: control.iova + statusAt, length: 1, deviceWrites: true },
    ]);
    notify();
    const used = this.#queue.takeUsed();
    if (used === undefined) throw new Error('the device did not use the request');
    const status = ram.read(control.physical + statusAt, 1)[0];
    return { status: status === NO_STATUS ? undefined : status, written: used.written };
  }
}

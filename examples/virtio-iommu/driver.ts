/**
 * A guest's driver for the device: writes requests into a virtqueue in guest RAM and reads what comes back.
 */
import type { GuestRam } from '../virtio/device-memory.js';
import { DriverQueue } from '../virtio/driver-queue.js';
import type { SplitVirtqueue } from '../virtio/split-virtqueue.js';
import {
  type Configuration,
  decodeConfiguration,
  decodeFault,
  decodeProperties,
  encodeRequest,
  FAULT_SIZE,
  type Fault,
  Feature,
  type MapRequest,
  type Request,
  type ReservedMemory,
  Status,
  type StatusName,
  TAIL_SIZE,
  writableSize,
} from './protocol.js';

/** What a driver is made of. */
export interface VirtioIommuDriverOptions {
  readonly ram: GuestRam;
  readonly requests: SplitVirtqueue;
  readonly events: SplitVirtqueue;
  /** What the device offers, and its configuration. */
  readonly device: { readonly features: number; readonly configuration: Uint8Array };
  /** A page of guest RAM for requests, and one for events. */
  readonly buffers: { readonly requests: bigint; readonly events: bigint };
  /** Notifies the device. */
  readonly notify: () => Promise<void>;
}

const STATUS_NAMES = new Map<number, StatusName>(
  Object.entries(Status).map(([name, number]) => [number, name as StatusName]),
);

const NEEDED = Feature.INPUT_RANGE | Feature.MAP_UNMAP | Feature.PROBE;

/** A driver that waits for each request, and so needs one buffer. */
export class VirtioIommuDriver {
  /** What the device says of itself. */
  readonly configuration: Configuration;
  readonly #options: VirtioIommuDriverOptions;
  readonly #requests: DriverQueue;
  readonly #events: DriverQueue;
  /** Addresses of the event buffers that the device has, by the heads of their chains. */
  readonly #eventBuffers = new Map<number, bigint>();

  constructor(options: VirtioIommuDriverOptions) {
    const { features, configuration } = options.device;
    if ((features & NEEDED) !== NEEDED) throw new Error('the device lacks a feature that this driver needs');
    this.configuration = decodeConfiguration(configuration);
    this.#options = options;
    this.#requests = new DriverQueue(options.requests);
    this.#events = new DriverQueue(options.events);
    for (let number = 0; number < options.events.size; number++) {
      this.#lendEventBuffer(options.buffers.events + BigInt(number * FAULT_SIZE));
    }
  }

  async attach(domain: number, endpoint: number): Promise<StatusName> {
    return (await this.send({ type: 'ATTACH', domain, endpoint, flags: 0 })).status;
  }

  async detach(domain: number, endpoint: number): Promise<StatusName> {
    return (await this.send({ type: 'DETACH', domain, endpoint })).status;
  }

  async map(request: Omit<MapRequest, 'type'>): Promise<StatusName> {
    return (await this.send({ type: 'MAP', ...request })).status;
  }

  async unmap(domain: number, start: bigint, end: bigint): Promise<StatusName> {
    return (await this.send({ type: 'UNMAP', domain, start, end })).status;
  }

  /** Where an endpoint can do no DMA. */
  async probe(endpoint: number): Promise<{ status: StatusName; reserved: ReservedMemory[] }> {
    const { status, answer } = await this.send({ type: 'PROBE', endpoint });
    return { status, reserved: decodeProperties(answer.subarray(0, this.configuration.probeSize)) };
  }

  /** Sends a request and waits for its status. */
  async send(request: Request): Promise<{ status: StatusName; answer: Uint8Array }> {
    const writable = writableSize(request.type, this.configuration.probeSize);
    const answer = await this.sendBytes(encodeRequest(request), writable);
    const status = STATUS_NAMES.get(answer[writable - TAIL_SIZE] ?? -1);
    if (status === undefined) throw new Error(`the device gave no status for ${request.type}`);
    return { status, answer };
  }

  /** Sends any bytes, with room for an answer; gives what the device wrote. */
  async sendBytes(bytes: Uint8Array, room: number): Promise<Uint8Array> {
    const { ram, buffers, notify } = this.#options;
    const to = buffers.requests;
    const from = to + BigInt(bytes.length);
    ram.write(to, bytes);
    this.#requests.add([
      { address: to, length: bytes.length, deviceWrites: false },
      { address: from, length: room, deviceWrites: true },
    ]);
    await notify();
    const used = this.#requests.takeUsed();
    if (used === undefined) throw new Error('the device did not use the request');
    return ram.read(from, used.written);
  }

  /** The faults that were reported since the last time. */
  takeFaults(): Fault[] {
    const faults: Fault[] = [];
    for (let used = this.#events.takeUsed(); used !== undefined; used = this.#events.takeUsed()) {
      const address = this.#eventBuffers.get(used.head);
      if (address === undefined) throw new Error('the device used an event buffer that it did not have');
      faults.push(decodeFault(this.#options.ram.read(address, used.written)));
      this.#lendEventBuffer(address);
    }
    return faults;
  }

  #lendEventBuffer(address: bigint): void {
    const head = this.#events.add([{ address, length: FAULT_SIZE, deviceWrites: true }]);
    this.#eventBuffers.set(head, address);
  }
}

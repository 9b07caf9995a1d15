/**
 * The device: takes requests from its queue, keeps domains, and reports faults.
 */
import { IommuError } from 'io-pagetable';
import type { GuestRam } from '../virtio/device-memory.js';
import { BrokenQueueError, type Chain, DeviceQueue } from '../virtio/device-queue.js';
import type { SplitVirtqueue } from '../virtio/split-virtqueue.js';
import { Domain, INPUT_RANGE, PAGE_SIZES } from './domain.js';
import type { Endpoint } from './endpoint.js';
import {
  type AttachRequest,
  type DetachRequest,
  decodeRequest,
  encodeConfiguration,
  encodeFault,
  encodeProperties,
  type Fault,
  Feature,
  HEAD_SIZE,
  MAP_READ,
  MAP_WRITE,
  type MapRequest,
  PROBE_SIZE,
  type ProbeRequest,
  type Request,
  readableSize,
  requestType,
  Status,
  type StatusName,
  TAIL_SIZE,
  type UnmapRequest,
  writableSize,
} from './protocol.js';
import { statusOf } from './status.js';

/** What a device is made of. */
export interface VirtioIommuOptions {
  readonly ram: GuestRam;
  readonly requests: SplitVirtqueue;
  readonly events: SplitVirtqueue;
  readonly endpoints: readonly Endpoint[];
}

/** A virtio-iommu. */
export class VirtioIommu {
  /** Bits of the features that it offers. */
  readonly features = Feature.INPUT_RANGE | Feature.MAP_UNMAP | Feature.PROBE;
  /** Its configuration as a driver reads it. */
  readonly configuration = encodeConfiguration({
    pageSizeMask: PAGE_SIZES.reduce((mask, size) => mask | size, 0n),
    inputRange: { start: INPUT_RANGE.start, end: INPUT_RANGE.last },
    probeSize: PROBE_SIZE,
  });
  /** The domains that there are, by number. */
  readonly domains = new Map<number, Domain>();
  /** The driver broke the rules of a queue (DEVICE_NEEDS_RESET): nothing is answered or reported any more. */
  needsReset = false;
  readonly #ram: GuestRam;
  readonly #requests: DeviceQueue;
  readonly #events: DeviceQueue;
  readonly #endpoints: ReadonlyMap<number, Endpoint>;
  #working: Promise<void> = Promise.resolve();

  constructor({ ram, requests, events, endpoints }: VirtioIommuOptions) {
    this.#ram = ram;
    this.#requests = new DeviceQueue(requests);
    this.#events = new DeviceQueue(events);
    this.#endpoints = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
    for (const endpoint of endpoints) endpoint.onFault = (fault) => this.#report(fault);
  }

  /** The driver's notification: works off all requests, one after the other. */
  notify(): Promise<void> {
    this.#working = this.#working.then(() => this.#workOff());
    return this.#working;
  }

  async #workOff(): Promise<void> {
    for (let chain = this.#take(this.#requests); chain !== undefined; chain = this.#take(this.#requests)) {
      this.#requests.give(chain, await this.#serve(chain));
    }
  }

  #take(queue: DeviceQueue): Chain | undefined {
    if (this.needsReset) return undefined;
    try {
      return queue.take();
    } catch (error) {
      if (!(error instanceof BrokenQueueError)) throw error;
      this.needsReset = true;
      return undefined;
    }
  }

  /** Answers one request; gives how many bytes were written. */
  async #serve(chain: Chain): Promise<number> {
    const { readable, writable } = chain;
    const type = requestType(readable.length < HEAD_SIZE ? 0 : (bytesOf(chain, HEAD_SIZE)?.[0] ?? 0));
    // Nobody knows where the tail of an unknown request is: it is given back as it was.
    const written = type === undefined ? 0 : writableSize(type, PROBE_SIZE);
    if (type === undefined || writable.length < written) return 0;
    const length = readableSize(type);
    const bytes = readable.length < length ? undefined : bytesOf(chain, length);
    const answer = new Uint8Array(written);
    answer[written - TAIL_SIZE] = Status[await this.#answer(type, bytes, answer)];
    return fill(chain, answer);
  }

  async #answer(type: Request['type'], bytes: Uint8Array | undefined, into: Uint8Array): Promise<StatusName> {
    if (bytes === undefined) return 'IOERR';
    const request = decodeRequest(type, bytes);
    if (request === undefined) return 'INVAL';
    try {
      switch (request.type) {
        case 'ATTACH':
          return await this.#attach(request);
        case 'DETACH':
          return await this.#detach(request);
        case 'MAP':
          return await this.#map(request);
        case 'UNMAP':
          return await this.#unmap(request);
        case 'PROBE':
          return this.#probe(request, into);
      }
    } catch (error) {
      return statusOf(error);
    }
  }

  async #attach({ domain: number, endpoint: id, flags }: AttachRequest): Promise<StatusName> {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) return 'NOENT';
    if (flags !== 0) return 'INVAL'; // BYPASS, which is not offered, and what is unknown
    const old = endpoint.domain;
    const known = this.domains.get(number);
    if (known !== undefined && known === old) return 'OK';
    const domain = known ?? (await Domain.create(number, this.#ram));
    try {
      await domain.attach(endpoint);
    } catch (error) {
      if (error instanceof IommuError && error.code === 'EADDRINUSE') return 'UNSUPP';
      throw error;
    }
    this.domains.set(number, domain);
    if (old !== undefined) await this.#leave(endpoint, old);
    return 'OK';
  }

  async #detach({ domain: number, endpoint: id }: DetachRequest): Promise<StatusName> {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) return 'NOENT';
    const domain = this.domains.get(number);
    if (domain === undefined || endpoint.domain !== domain) return 'INVAL';
    await this.#leave(endpoint, domain);
    return 'OK';
  }

  async #map(request: MapRequest): Promise<StatusName> {
    const { start, end, flags } = request;
    if ((flags & ~(MAP_READ | MAP_WRITE)) !== 0 || end < start) return 'INVAL';
    const domain = this.domains.get(request.domain);
    if (domain === undefined) return 'NOENT';
    if (start < INPUT_RANGE.start || end > INPUT_RANGE.last) return 'RANGE';
    await domain.map(request);
    return 'OK';
  }

  async #unmap(request: UnmapRequest): Promise<StatusName> {
    if (request.end < request.start) return 'INVAL';
    const domain = this.domains.get(request.domain);
    if (domain === undefined) return 'NOENT';
    await domain.unmap(request);
    return 'OK';
  }

  #probe({ endpoint: id }: ProbeRequest, into: Uint8Array): StatusName {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) return 'NOENT';
    into.set(encodeProperties(endpoint.reserved));
    return 'OK';
  }

  async #leave(endpoint: Endpoint, domain: Domain): Promise<void> {
    await domain.detach(endpoint);
    if (domain.endpoints.size === 0) this.domains.delete(domain.number);
  }

  /** Tells the driver of a fault, if it has left a buffer for that. */
  #report(fault: Fault): void {
    const chain = this.#take(this.#events);
    if (chain !== undefined) this.#events.give(chain, fill(chain, encodeFault(fault)));
  }
}

/** The first `length` bytes of a chain; `undefined` if its buffers are not in RAM. */
function bytesOf({ readable }: Chain, length: number): Uint8Array | undefined {
  try {
    return readable.read(0, length);
  } catch (error) {
    if (error instanceof IommuError) return undefined;
    throw error;
  }
}

/** Writes an answer; gives its bytes, or 0 if there is no room for it, or its buffers are not in RAM. */
function fill({ writable }: Chain, answer: Uint8Array): number {
  if (writable.length < answer.length) return 0;
  try {
    writable.write(0, answer);
    return answer.length;
  } catch (error) {
    if (error instanceof IommuError) return 0;
    throw error;
  }
}

/**
 * The binary layout of virtio-iommu (virtio 1.2, section 5.13). Little endian.
 *
 * A request begins with a head (type, 3 reserved bytes), which the device reads, and ends with a tail (status, 3
 * reserved bytes), which it writes.
 */

/** Feature bits of what this device offers, and its driver needs. */
export const Feature = { INPUT_RANGE: 1 << 0, MAP_UNMAP: 1 << 2, PROBE: 1 << 4 } as const;

/** The device's configuration: what a driver reads before it sends anything. */
export interface Configuration {
  /** Bit n: mappings of 2^n bytes; the lowest is the granularity of all addresses. */
  readonly pageSizeMask: bigint;
  /** What can be mapped, both bounds inclusive. */
  readonly inputRange: { readonly start: bigint; readonly end: bigint };
  /** Bytes of properties that a PROBE request has room for. */
  readonly probeSize: number;
}

const CONFIGURATION_SIZE = 40;

export function encodeConfiguration({ pageSizeMask, inputRange, probeSize }: Configuration): Uint8Array {
  const bytes = new Uint8Array(CONFIGURATION_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, pageSizeMask, true);
  setRange(view, 8, inputRange);
  // The range of domain numbers, at 24, and the bypass switch, at 36, belong to features that are not offered.
  view.setUint32(32, probeSize, true);
  return bytes;
}

export function decodeConfiguration(bytes: Uint8Array): Configuration {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    pageSizeMask: view.getBigUint64(0, true),
    inputRange: rangeAt(view, 8),
    probeSize: view.getUint32(32, true),
  };
}

/** What a request asks for. */
const RequestType = { ATTACH: 1, DETACH: 2, MAP: 3, UNMAP: 4, PROBE: 5 } as const;

/** How a request ended. */
export const Status = {
  OK: 0,
  IOERR: 1,
  UNSUPP: 2,
  DEVERR: 3,
  INVAL: 4,
  RANGE: 5,
  NOENT: 6,
  FAULT: 7,
  NOMEM: 8,
} as const;
export type StatusName = keyof typeof Status;

/** Flags of MAP. */
export const MAP_READ = 1;
export const MAP_WRITE = 2;

/** Why a device's access failed: its endpoint is in no domain, or its domain doesn't map the address so. */
export const FaultReason = { DOMAIN: 1, MAPPING: 2 } as const;
/** Flags of a fault: what was tried, and whether there is an address. */
export const FAULT_READ = 1;
export const FAULT_WRITE = 2;
export const FAULT_ADDRESS = 0x100;
export const FAULT_SIZE = 24;

export const HEAD_SIZE = 4;
export const TAIL_SIZE = 4;
/** Bytes of properties that a PROBE request to this device has room for. */
export const PROBE_SIZE = 128;

const RESV_MEM = 1;
const PROPERTY_HEAD_SIZE = 4;
const RESV_MEM_SIZE = 20;

export interface AttachRequest {
  readonly type: 'ATTACH';
  readonly domain: number;
  readonly endpoint: number;
  readonly flags: number;
}
export interface DetachRequest {
  readonly type: 'DETACH';
  readonly domain: number;
  readonly endpoint: number;
}
export interface MapRequest {
  readonly type: 'MAP';
  readonly domain: number;
  /** First and last IOVA, both inclusive. */
  readonly start: bigint;
  readonly end: bigint;
  /** Guest physical address of the first byte. */
  readonly physical: bigint;
  readonly flags: number;
}
export interface UnmapRequest {
  readonly type: 'UNMAP';
  readonly domain: number;
  /** First and last IOVA, both inclusive. */
  readonly start: bigint;
  readonly end: bigint;
}
export interface ProbeRequest {
  readonly type: 'PROBE';
  readonly endpoint: number;
}
export type Request = AttachRequest | DetachRequest | MapRequest | UnmapRequest | ProbeRequest;

/** Bytes of the device-readable part of each request, head included. */
const READABLE_SIZE = { ATTACH: 20, DETACH: 20, MAP: 36, UNMAP: 28, PROBE: 72 } as const;
const TYPES = ['ATTACH', 'DETACH', 'MAP', 'UNMAP', 'PROBE'] as const;

/** The name of a request type, or `undefined` if it is none. */
export function requestType(number: number): Request['type'] | undefined {
  return TYPES.find((type) => RequestType[type] === number);
}

/** Bytes that the device reads of a request. */
export function readableSize(type: Request['type']): number {
  return READABLE_SIZE[type];
}

/** Bytes that the device writes of a request: its tail, and before it the properties of a PROBE. */
export function writableSize(type: Request['type'], probeSize: number): number {
  return (type === 'PROBE' ? probeSize : 0) + TAIL_SIZE;
}

/** The device-readable part of a request. */
export function encodeRequest(request: Request): Uint8Array {
  const bytes = new Uint8Array(READABLE_SIZE[request.type]);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, RequestType[request.type]);
  view.setUint32(4, request.type === 'PROBE' ? request.endpoint : request.domain, true);
  switch (request.type) {
    case 'ATTACH':
      view.setUint32(12, request.flags, true);
      view.setUint32(8, request.endpoint, true);
      break;
    case 'DETACH':
      view.setUint32(8, request.endpoint, true);
      break;
    case 'MAP':
      view.setBigUint64(24, request.physical, true);
      view.setUint32(32, request.flags, true);
      setRange(view, 8, request);
      break;
    case 'UNMAP':
      setRange(view, 8, request);
  }
  return bytes;
}

/** Reads a request from its device-readable part; `undefined` if a reserved field of it is not zero. */
export function decodeRequest(type: Request['type'], bytes: Uint8Array): Request | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const first = view.getUint32(4, true);
  switch (type) {
    case 'ATTACH':
      if (!isZero(bytes, 16, 20)) return undefined;
      return { type, domain: first, endpoint: view.getUint32(8, true), flags: view.getUint32(12, true) };
    case 'DETACH':
      if (!isZero(bytes, 12, 20)) return undefined;
      return { type, domain: first, endpoint: view.getUint32(8, true) };
    case 'MAP':
      return {
        type,
        domain: first,
        ...rangeAt(view, 8),
        physical: view.getBigUint64(24, true),
        flags: view.getUint32(32, true),
      };
    case 'UNMAP':
      if (!isZero(bytes, 24, 28)) return undefined;
      return { type, domain: first, ...rangeAt(view, 8) };
    case 'PROBE':
      if (!isZero(bytes, 8, 72)) return undefined;
      return { type, endpoint: first };
  }
}

/** Addresses that an endpoint cannot use for DMA (both bounds inclusive), or that its MSIs are written to. */
export interface ReservedMemory {
  readonly subtype: 'reserved' | 'msi';
  readonly start: bigint;
  readonly end: bigint;
}

/** The properties of a PROBE: RESV_MEM ones, then zeros, which end the list. */
export function encodeProperties(regions: readonly ReservedMemory[]): Uint8Array {
  const bytes = new Uint8Array(PROBE_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [number, region] of regions.entries()) {
    const at = number * (PROPERTY_HEAD_SIZE + RESV_MEM_SIZE);
    view.setUint16(at, RESV_MEM, true);
    view.setUint16(at + 2, RESV_MEM_SIZE, true);
    view.setUint8(at + 4, region.subtype === 'msi' ? 1 : 0);
    setRange(view, at + 8, region);
  }
  return bytes;
}

/** Reads properties; types that are not known are skipped. */
export function decodeProperties(bytes: Uint8Array): ReservedMemory[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const regions: ReservedMemory[] = [];
  for (let at = 0; at + PROPERTY_HEAD_SIZE <= bytes.length; ) {
    const type = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    if (type === 0 || at + PROPERTY_HEAD_SIZE + length > bytes.length) break;
    if (type === RESV_MEM && length >= RESV_MEM_SIZE) {
      regions.push({ subtype: view.getUint8(at + 4) === 1 ? 'msi' : 'reserved', ...rangeAt(view, at + 8) });
    }
    at += PROPERTY_HEAD_SIZE + length;
  }
  return regions;
}

/** A device's access that failed. */
export interface Fault {
  readonly reason: number;
  readonly flags: number;
  readonly endpoint: number;
  readonly address: bigint;
}

export function encodeFault({ reason, flags, endpoint, address }: Fault): Uint8Array {
  const bytes = new Uint8Array(FAULT_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, reason);
  view.setUint32(4, flags, true);
  view.setUint32(8, endpoint, true);
  view.setBigUint64(16, address, true);
  return bytes;
}

export function decodeFault(bytes: Uint8Array): Fault {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    reason: view.getUint8(0),
    flags: view.getUint32(4, true),
    endpoint: view.getUint32(8, true),
    address: view.getBigUint64(16, true),
  };
}

function setRange(view: DataView, at: number, { start, end }: { start: bigint; end: bigint }): void {
  view.setBigUint64(at, start, true);
  view.setBigUint64(at + 8, end, true);
}

function rangeAt(view: DataView, at: number): { start: bigint; end: bigint } {
  return { start: view.getBigUint64(at, true), end: view.getBigUint64(at + 8, true) };
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  return bytes.subarray(from, to).every((byte) => byte === 0);
}

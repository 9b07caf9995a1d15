/**
 * QEMU's `virtio_iommu_*` trace events (`-trace 'virtio_iommu_*' -D FILE`): the requests of a guest to its
 * virtual IOMMU, and each translation a device asked for with the answer it got.
 */
import {
  findTraceEvent,
  type LogPlace,
  lineForm,
  type MalformedLine,
  malformed,
  readTraceEvent,
  type TraceEvent,
} from './log-line.js';

/** MAP request: IOVA [iova, last] (inclusive) to guest physical `physical`. */
export interface ViommuMap extends LogPlace {
  readonly type: 'viommu-map';
  readonly domain: number;
  readonly iova: bigint;
  readonly last: bigint;
  readonly physical: bigint;
  /** Bits: 1 read, 2 write, 4 memory-mapped I/O. */
  readonly flags: number;
}

/** UNMAP request for [iova, last]: mappings wholly inside go, one that sticks out is refused. */
export interface ViommuUnmap extends LogPlace {
  readonly type: 'viommu-unmap';
  readonly domain: number;
  readonly iova: bigint;
  readonly last: bigint;
}

/** One mapping, [iova, last], that the UNMAP request before it removed. */
export interface ViommuUnmapDone extends LogPlace {
  readonly type: 'viommu-unmap-done';
  readonly domain: number;
  readonly iova: bigint;
  readonly last: bigint;
}

/** A device asks for an IOVA. Answered by a `ViommuTranslated`; by none if it hit nothing. */
export interface ViommuTranslate extends LogPlace {
  readonly type: 'viommu-translate';
  /** Name of the memory region, in QEMU. Untrusted. */
  readonly region: string;
  /** The device's endpoint number (its requester id). */
  readonly endpoint: number;
  readonly iova: bigint;
  /** Bits: 1 read, 2 write. */
  readonly access: number;
}

/** The answer to the translate before it: guest physical `physical` is behind `iova`. */
export interface ViommuTranslated extends LogPlace {
  readonly type: 'viommu-translated';
  readonly iova: bigint;
  readonly physical: bigint;
  readonly endpoint: number;
}

/** An endpoint joins a domain or leaves it. */
export interface ViommuAttachment extends LogPlace {
  readonly type: 'viommu-attach' | 'viommu-detach';
  readonly domain: number;
  readonly endpoint: number;
}

/** A range of IOVA that the device model reports as reserved for an endpoint: never mapped, never translated. */
export interface ViommuReserved extends LogPlace {
  readonly type: 'viommu-reserved';
  readonly endpoint: number;
  /** 0 reserved, 1 message-signalled interrupts. */
  readonly kind: number;
  readonly iova: bigint;
  readonly last: bigint;
}

/** A domain ends, and its mappings with it. */
export interface ViommuFreeDomain extends LogPlace {
  readonly type: 'viommu-free-domain';
  readonly domain: number;
}

/** An endpoint ends: it is attached to nothing from here on. */
export interface ViommuFreeEndpoint extends LogPlace {
  readonly type: 'viommu-free-endpoint';
  readonly endpoint: number;
}

/** What a line of this format says. */
export type ViommuEvent =
  | ViommuMap
  | ViommuUnmap
  | ViommuUnmapDone
  | ViommuTranslate
  | ViommuTranslated
  | ViommuAttachment
  | ViommuReserved
  | ViommuFreeDomain
  | ViommuFreeEndpoint;

const FAMILY = 'virtio_iommu_';
const MAP = lineForm(
  'domain=<domain:int> virt_start=<iova:hex> virt_end=<last:hex> phys_start=<physical:hex> flags=<flags:int>',
);
const RANGE = lineForm('domain=<domain:int> virt_start=<iova:hex> virt_end=<last:hex>');
const TRANSLATE = lineForm('mr=<region:word> rid=<endpoint:int> addr=<iova:hex> flag=<access:int>');
const TRANSLATED = lineForm('<iova:hex> -> <physical:hex> for sid=<endpoint:int>');
const ATTACHMENT = lineForm('domain=<domain:int> endpoint=<endpoint:int>');
const RESERVED = lineForm('dev= <endpoint:int>, type=<kind:int> start=<iova:hex> end=<last:hex>');
const FREE_DOMAIN = lineForm('Free domain=<domain:int>');
const FREE_ENDPOINT = lineForm('Free endpoint=<endpoint:int>');

/** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
export function parseViommuLine(text: string, line: number): ViommuEvent | MalformedLine | undefined {
  const found = findTraceEvent(text, line, FAMILY);
  switch (found?.name) {
    case 'map':
      return forwards(found, readTraceEvent(found, 'viommu-map', MAP));
    case 'unmap':
      return forwards(found, readTraceEvent(found, 'viommu-unmap', RANGE));
    case 'unmap_done':
      return forwards(found, readTraceEvent(found, 'viommu-unmap-done', RANGE));
    case 'translate':
      return readTraceEvent(found, 'viommu-translate', TRANSLATE);
    case 'translate_out':
      return readTraceEvent(found, 'viommu-translated', TRANSLATED);
    case 'attach':
      return readTraceEvent(found, 'viommu-attach', ATTACHMENT);
    case 'detach':
      return readTraceEvent(found, 'viommu-detach', ATTACHMENT);
    case 'fill_resv_property':
      return forwards(found, readTraceEvent(found, 'viommu-reserved', RESERVED));
    case 'put_domain':
      return readTraceEvent(found, 'viommu-free-domain', FREE_DOMAIN);
    case 'put_endpoint':
      return readTraceEvent(found, 'viommu-free-endpoint', FREE_ENDPOINT);
    default:
      return undefined;
  }
}

/** The line of an event as QEMU prints it, without a prefix; `parseViommuLine` reads it back. */
export function formatViommuEvent(event: ViommuEvent): string {
  switch (event.type) {
    case 'viommu-map':
      return `${FAMILY}map ${MAP.write(event)}`;
    case 'viommu-unmap':
      return `${FAMILY}unmap ${RANGE.write(event)}`;
    case 'viommu-unmap-done':
      return `${FAMILY}unmap_done ${RANGE.write(event)}`;
    case 'viommu-translate':
      return `${FAMILY}translate ${TRANSLATE.write(event)}`;
    case 'viommu-translated':
      return `${FAMILY}translate_out ${TRANSLATED.write(event)}`;
    case 'viommu-attach':
      return `${FAMILY}attach ${ATTACHMENT.write(event)}`;
    case 'viommu-detach':
      return `${FAMILY}detach ${ATTACHMENT.write(event)}`;
    case 'viommu-reserved':
      return `${FAMILY}fill_resv_property ${RESERVED.write(event)}`;
    case 'viommu-free-domain':
      return `${FAMILY}put_domain ${FREE_DOMAIN.write(event)}`;
    case 'viommu-free-endpoint':
      return `${FAMILY}put_endpoint ${FREE_ENDPOINT.write(event)}`;
  }
}

/** The event, unless its range runs backwards. */
function forwards<Event extends { readonly iova: bigint; readonly last: bigint }>(
  found: TraceEvent,
  event: Event | MalformedLine,
): Event | MalformedLine {
  if (!('iova' in event) || event.iova <= event.last) return event;
  return malformed(found.line, found.text, 'the range ends below its start');
}

/**
 * QEMU's `virtio_iommu_*` trace events (`-trace 'virtio_iommu_*' -D FILE`): the requests of a guest to its
 * virtual IOMMU, and each translation a device asked for with the answer it got.
 */
import { type LogPlace, lineForm, type MalformedLine } from '../../log-line.js';
import { traceFamily } from '../../trace-family.js';

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

const RANGE = 'domain=<domain:int> virt_start=<iova:hex> virt_end=<last:hex>';
const ATTACHMENT = lineForm('domain=<domain:int> endpoint=<endpoint:int>');

const LINES = traceFamily<ViommuEvent>('virtio_iommu_', {
  'viommu-map': {
    name: 'map',
    form: lineForm(`${RANGE} phys_start=<physical:hex> flags=<flags:int>`),
    problem: backwards,
  },
  'viommu-unmap': { name: 'unmap', form: lineForm(RANGE), problem: backwards },
  'viommu-unmap-done': { name: 'unmap_done', form: lineForm(RANGE), problem: backwards },
  'viommu-translate': {
    name: 'translate',
    form: lineForm('mr=<region:word> rid=<endpoint:int> addr=<iova:hex> flag=<access:int>'),
  },
  'viommu-translated': {
    name: 'translate_out',
    form: lineForm('<iova:hex> -> <physical:hex> for sid=<endpoint:int>'),
  },
  'viommu-attach': { name: 'attach', form: ATTACHMENT },
  'viommu-detach': { name: 'detach', form: ATTACHMENT },
  'viommu-reserved': {
    name: 'fill_resv_property',
    form: lineForm('dev= <endpoint:int>, type=<kind:int> start=<iova:hex> end=<last:hex>'),
    problem: backwards,
  },
  'viommu-free-domain': { name: 'put_domain', form: lineForm('Free domain=<domain:int>') },
  'viommu-free-endpoint': { name: 'put_endpoint', form: lineForm('Free endpoint=<endpoint:int>') },
});

/** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
export function parseViommuLine(text: string, line: number): ViommuEvent | MalformedLine | undefined {
  return LINES.read(text, line);
}

/** The line of an event as QEMU prints it, without a prefix; `parseViommuLine` reads it back. */
export function formatViommuEvent(event: ViommuEvent): string {
  return LINES.write(event);
}

function backwards({ iova, last }: { readonly iova: bigint; readonly last: bigint }): string | undefined {
  return iova > last ? 'the range ends below its start' : undefined;
}

/**
 * Operations of a random test as plain JSON data: easy to shrink, to print, to store and to replay.
 *
 * Addresses are hex strings. To hit something often, an address can also be given relative to what is mapped
 * when the operation runs.
 */
import { MAX, min } from './naive-ranges.js';
import type { Charged, NaiveTable, Prot } from './naive-table.js';

/** A 64-bit value in hex. */
export type Hex = `0x${string}`;

/**
 * A range of IOVA: absolute, or from the start of area number `area` (modulo the number of areas) to the last
 * byte of the area `through` further on, with both ends moved by so many bytes.
 */
export type Span =
  | { readonly at: Hex; readonly length: Hex }
  | { readonly area: number; readonly through: number; readonly first: number; readonly last: number };

/** An IOVA to map at: the table's choice, absolute, or so many bytes after an area (negative: before its end). */
export type Place = null | Hex | { readonly after: number; readonly gap: number };

/** An address in the middle of things: absolute, or so many bytes after the start of an area. */
export type Point = Hex | { readonly area: number; readonly offset: number };

/** A reserved region of a device. */
export interface RegionOp {
  readonly start: Hex;
  readonly length: Hex;
  readonly type: 'direct' | 'direct-relaxable' | 'reserved' | 'msi' | 'sw-msi';
}

/**
 * One operation. Tables, domains, accesses, owners and devices are numbered from 0. Where nothing could happen with
 * the object of that number (an area-relative range of an empty table, an access in no table, a domain of none),
 * the next one with which something can is meant.
 */
export type Op =
  | { op: 'map'; table: number; iova: Place; uptr: Hex; length: Hex; prot: Prot; charged: Charged }
  | { op: 'copy'; table: number; from: number; source: Span; iova: Place; prot: Prot }
  | { op: 'unmap'; table: number; range: Span }
  | { op: 'unmapAll'; table: number }
  | { op: 'addDomain'; table: number; domain: number }
  | { op: 'removeDomain'; domain: number }
  | { op: 'poison'; domain: number; at: Point | null }
  | { op: 'reserve'; table: number; start: Hex; length: Hex; owner: number | null }
  | { op: 'unreserve'; table: number; owner: number | null }
  | { op: 'regions'; table: number; device: number; regions: readonly RegionOp[] }
  | { op: 'allow'; table: number; ranges: readonly { start: Hex; last: Hex }[] }
  | { op: 'iovaRanges'; table: number }
  | { op: 'largePages'; table: number; enable: boolean }
  | { op: 'cut'; table: number; addresses: readonly Point[] }
  | { op: 'attach'; access: number; table: number }
  | { op: 'replace'; access: number; table: number }
  | { op: 'detach'; access: number }
  | { op: 'ignore'; access: number; notices: number }
  | { op: 'pin'; access: number; range: Span; write: boolean }
  | { op: 'unpin'; access: number; pin: number }
  | { op: 'read'; access: number; range: Span; slow: boolean }
  | { op: 'write'; access: number; range: Span; slow: boolean; seed: number }
  | { op: 'hold'; table: number; range: Span; write: boolean }
  | { op: 'release'; hold: number }
  | { op: 'trackDirty'; domain: number; enable: boolean }
  | { op: 'markDirty'; domain: number; at: Point }
  | { op: 'changeMemory'; region: number; page: number; pages: number; to: 'read-only' | 'writable' | 'gone' }
  | { op: 'exit' }
  | { op: 'readDirty'; domain: number; range: Span; pageSize: Hex; keep: boolean };

/** A value in hex. */
export function hex(value: bigint): Hex {
  return `0x${value.toString(16)}`;
}

function clip(value: bigint): bigint {
  return value < 0n ? 0n : min(value, MAX);
}

/** Start and length of a span; an area-relative one of an empty table is the first page of the mock aperture. */
export function resolveSpan(table: NaiveTable | undefined, span: Span): { iova: bigint; length: bigint } {
  if ('at' in span) return { iova: BigInt(span.at), length: BigInt(span.length) };
  const areas = table?.areas ?? [];
  const first = areas[span.area % areas.length];
  if (first === undefined) return { iova: 0x1000000n, length: 0x1000n };
  const last = areas[Math.min(areas.indexOf(first) + span.through, areas.length - 1)] ?? first;
  const iova = clip(first.start + BigInt(span.first));
  return { iova, length: clip(last.last + BigInt(span.last) - iova + 1n) };
}

/** The IOVA to map at; `undefined`: the table's choice. */
export function resolvePlace(table: NaiveTable, place: Place): bigint | undefined {
  if (place === null) return undefined;
  if (typeof place === 'string') return BigInt(place);
  const area = table.areas[place.after % table.areas.length];
  return clip((area?.last ?? 0xffffffn) + 1n + BigInt(place.gap));
}

/** An address. */
export function resolvePoint(table: NaiveTable | undefined, point: Point): bigint {
  if (typeof point === 'string') return BigInt(point);
  const areas = table?.areas ?? [];
  return clip((areas[point.area % areas.length]?.start ?? 0x1000000n) + BigInt(point.offset));
}

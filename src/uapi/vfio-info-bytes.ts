/** The answer of VFIO's IOMMU_GET_INFO as bytes: a struct and a chain of capabilities behind it. */
import type { VfioCapability, VfioInfo } from '../iommufd/vfio-info.js';
import { readBytes } from '../memory/read-bytes.js';
import { decodeRanges, encodeRanges, IOVA_RANGE } from './ranges.js';
import type { Decoded } from './struct.js';
import {
  VFIO_CAPABILITY,
  VFIO_CAPABILITY_DMA_AVAIL,
  VFIO_CAPABILITY_IOVA_RANGES,
  VFIO_COMMANDS,
} from './vfio-commands.js';

const { struct: INFO } = VFIO_COMMANDS.VFIO_IOMMU_GET_INFO;
/** Flag of the answer: it has capabilities. */
const HAS_CAPABILITIES = 2;
const DMA_AVAIL = 3;
const IOVA_RANGES = 1;

/** Bytes to be written into an answer. */
export interface AnswerPart {
  /** Where they begin, from the start of the answer. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * The parts of the answer that a caller gets, in the order in which they are written: capabilities that have room,
 * also where the chain as a whole has not, and last as much of the struct as fits.
 *
 * @param room - bytes that the caller has
 */
export function infoParts(info: VfioInfo, room: number): AnswerPart[] {
  const parts: AnswerPart[] = [];
  for (const capability of info.capabilities) {
    const { offset } = capability;
    if (capability.id === DMA_AVAIL) {
      const { id, version, available } = capability;
      // The link comes only with the room up to where it leads.
      const next = capability.next <= room ? capability.next : 0;
      const bytes = VFIO_CAPABILITY_DMA_AVAIL.encode({ id, version, next, available });
      if (offset + bytes.length <= room) parts.push({ offset, bytes });
    } else {
      const { id, version, next, ranges } = capability;
      const first = offset + VFIO_CAPABILITY_IOVA_RANGES.length;
      const fitting = Math.max(0, Math.floor((room - first) / IOVA_RANGE.length));
      parts.push({ offset: first, bytes: encodeRanges(ranges.slice(0, fitting)) });
      const head = VFIO_CAPABILITY_IOVA_RANGES.encode({ id, version, next, count: ranges.length });
      if (fitting >= ranges.length) parts.push({ offset, bytes: head });
    }
  }
  const { flags, pageSizes: iovaPgsizes, size: argsz } = info;
  const capOffset = room >= argsz ? INFO.length : 0;
  const struct = INFO.encode({ argsz, flags, iovaPgsizes, capOffset });
  parts.push({ offset: 0, bytes: struct.subarray(0, room) });
  return parts;
}

/** A capability that is not known here. */
export interface UnknownVfioCapability {
  readonly id: 'unknown';
  /** Its id in the answer. */
  readonly number: number;
  readonly version: number;
  /** Where it is, from the start of the answer. */
  readonly offset: number;
  /** Where the next one is; 0 after the last. */
  readonly next: number;
}

/** What an answer of IOMMU_GET_INFO says. */
export interface DecodedVfioInfo extends Decoded<typeof INFO.fields> {
  /** The chain of capabilities; empty where there was no room for all of it, which `argsz` tells. */
  readonly capabilities: readonly (VfioCapability | UnknownVfioCapability)[];
}

/**
 * Reads an answer of IOMMU_GET_INFO, of this library or of a kernel. A chain that leads out of the bytes, or in a
 * circle, ends there.
 *
 * @throws TypeError if `bytes` is no Uint8Array.
 */
export function decodeVfioInfo(bytes: Uint8Array): DecodedVfioInfo {
  const answer = readBytes(bytes, 'bytes');
  const fields = INFO.decodePart(answer);
  const capabilities: (VfioCapability | UnknownVfioCapability)[] = [];
  const seen = new Set<number>();
  let offset = (fields.flags & HAS_CAPABILITIES) === 0 ? 0 : fields.capOffset;
  while (offset !== 0 && !seen.has(offset)) {
    seen.add(offset);
    const capability = capabilityAt(answer, offset);
    if (capability === undefined) break;
    capabilities.push(capability);
    offset = capability.next;
  }
  return { ...fields, capabilities };
}

function capabilityAt(bytes: Uint8Array, offset: number): VfioCapability | UnknownVfioCapability | undefined {
  const has = (length: number) => offset + length <= bytes.length;
  if (!has(VFIO_CAPABILITY.length)) return undefined;
  const { id: number, version, next } = VFIO_CAPABILITY.decode(bytes, offset);
  if (number === DMA_AVAIL && version === 1 && has(VFIO_CAPABILITY_DMA_AVAIL.length)) {
    const { available } = VFIO_CAPABILITY_DMA_AVAIL.decode(bytes, offset);
    return { id: DMA_AVAIL, version, offset, next, available };
  }
  const { length: headLength } = VFIO_CAPABILITY_IOVA_RANGES;
  if (number === IOVA_RANGES && version === 1 && has(headLength)) {
    const { count } = VFIO_CAPABILITY_IOVA_RANGES.decode(bytes, offset);
    if (!has(headLength + count * IOVA_RANGE.length)) return undefined;
    const ranges = decodeRanges(bytes.subarray(offset + headLength), count);
    return { id: IOVA_RANGES, version, offset, next, ranges };
  }
  return { id: 'unknown', number, version, offset, next };
}

/** The commands on address spaces, with their fields and flags as the kernel takes them. */
import { checkedInterval, checkObject, type IovaRange } from '../arguments.js';
import { type ErrorReason, IommuError, notMapped, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { IntervalTree } from '../interval-tree.js';
import type { Abortable } from '../operation.js';
import { type Protection, protectionName, READ, WRITE } from '../protection.js';
import { addAllowed } from '../table/reservations.js';
import { type Address, between, hex, isZero, LAST_PAGE, PAGE_MASK, readU64, type U64Input } from '../u64.js';
import type { Caller } from './caller.js';
import { type Context, holding } from './context.js';
import { Ioas } from './ioas.js';
import type { DeliverId } from './object-table.js';

/** Flags of IOAS_MAP and IOAS_COPY. */
export const IOAS_MAP = Object.freeze({
  /** Map at the IOVA given; without it the kernel chooses. */
  FIXED_IOVA: 1,
  /** Devices may write. */
  WRITEABLE: 2,
  /** Devices may read. */
  READABLE: 4,
} as const);

/** What IOAS_IOVA_RANGES answers. */
export interface IovaRanges {
  /** The usable ranges in ascending order, both ends included; the first ones only, if the caller has no room. */
  readonly ranges: readonly { readonly start: bigint; readonly last: bigint }[];
  /** How many there are in all. */
  readonly total: number;
  /** What IOVA, length and user address of every mapping must be a multiple of. */
  readonly alignment: number;
}

/** An error of a call that gave a part of its answer all the same. */
export class PartialAnswerError<T> extends IommuError {
  /** The part that was given. */
  readonly answer: T;

  constructor(reason: ErrorReason, answer: T) {
    super('EMSGSIZE', reason);
    this.answer = answer;
  }
}

/**
 * IOAS_ALLOC: makes an address space and gives its id.
 *
 * @param deliver - hands the id over before the address space can be found
 * @throws EOPNOTSUPP if `flags` is not 0, and what `deliver` throws; the id is free again then.
 *
 * @internal
 */
export async function ioasAlloc(
  context: Context,
  fields: { readonly flags: number },
  deliver?: DeliverId,
): Promise<number> {
  refuseFlags(fields.flags, 0);
  const ioas = await context.objects.create(async (id) => {
    faultPoint(context.faults, 'response');
    await deliver?.(id);
    return new Ioas(id, context);
  });
  return ioas.id;
}

/**
 * IOAS_IOVA_RANGES: the IOVA that is not reserved.
 *
 * @throws ENOENT if there is no such address space; EMSGSIZE, a `PartialAnswerError` with the first `numIovas`
 * ranges, if there are more.
 *
 * @internal
 */
export async function ioasIovaRanges(
  context: Context,
  fields: { readonly ioasId: number; readonly numIovas: number },
): Promise<IovaRanges> {
  const ioas = context.objects.get(fields.ioasId, Ioas);
  const { ranges, alignment } = await holding([ioas], () => ioas.table.iovaRanges());
  const total = ranges.length;
  if (total <= fields.numIovas) return { ranges, total, alignment };
  const detail = `there are ${total} ranges, but room for ${fields.numIovas}`;
  throw new PartialAnswerError<IovaRanges>(
    { check: 'argument', detail },
    { ranges: ranges.slice(0, fields.numIovas), total, alignment },
  );
}

/**
 * IOAS_ALLOW_IOVAS: replaces the list of ranges that may not become reserved, and that automatic placement keeps to.
 *
 * @param fields - `ranges` is read once, in order, and no further than to the first one that is refused
 * @throws ENOENT if there is no such address space, EINVAL if a range has fewer than two bytes or meets an earlier
 * one, EADDRINUSE if one meets a reserved range. The old list stays then.
 *
 * @internal
 */
export async function ioasAllowIovas(
  context: Context,
  fields: { readonly ioasId: number; readonly ranges: Iterable<IovaRange> | AsyncIterable<IovaRange> },
): Promise<void> {
  const ioas = context.objects.get(fields.ioasId, Ioas);
  await holding([ioas], async () => {
    const ranges: IovaRange[] = [];
    const earlier = new IntervalTree<undefined>();
    for await (const range of fields.ranges) {
      checkObject(range, 'range');
      addAllowed(earlier, between(readU64(range.start, 'start'), readU64(range.last, 'last')));
      ranges.push(range);
    }
    await ioas.table.setAllowedIova(ranges);
  });
}

/** The fields of IOAS_MAP. */
export interface IoasMapFields {
  readonly flags: number;
  readonly ioasId: number;
  readonly userVa: U64Input;
  readonly length: U64Input;
  /** Used only with FIXED_IOVA, but looked at always. */
  readonly iova: U64Input;
}

/**
 * IOAS_MAP: maps memory of the caller and gives the IOVA.
 *
 * @throws EOPNOTSUPP for unknown flags, EOVERFLOW if `iova` or `length` is 2^64 − 1, EINVAL if devices may neither
 * read nor write, ENOENT if there is no such address space, and as `IoPagetable.map`.
 *
 * @internal
 */
export async function ioasMap(
  context: Context,
  fields: IoasMapFields,
  caller?: Caller & Abortable,
): Promise<bigint> {
  const { flags, iova, userVa, length } = fields;
  refuseFlags(flags, IOAS_MAP.FIXED_IOVA | IOAS_MAP.WRITEABLE | IOAS_MAP.READABLE);
  refuseLargest('iova', readU64(iova, 'iova'));
  refuseLargest('length', readU64(length, 'length'));
  refuseNoPermission(flags);
  const ioas = context.objects.get(fields.ioasId, Ioas);
  const placed = await holding([ioas], () =>
    ioas.table.map({
      uptr: userVa,
      length,
      prot: protectionOf(flags),
      accounting: context.accountingOf(caller),
      iova: flags & IOAS_MAP.FIXED_IOVA ? iova : undefined,
      memory: caller?.memory,
      signal: caller?.signal,
    }),
  );
  faultPoint(context.faults, 'response');
  return placed;
}

/** The fields of IOAS_COPY. */
export interface IoasCopyFields {
  readonly flags: number;
  readonly dstIoasId: number;
  readonly srcIoasId: number;
  readonly length: U64Input;
  /** Used only with FIXED_IOVA, but looked at always. */
  readonly dstIova: U64Input;
  readonly srcIova: U64Input;
}

/**
 * IOAS_COPY: maps what another address space (or the same) has mapped, and gives the IOVA. The pages are shared.
 *
 * @throws EOPNOTSUPP for unknown flags, EOVERFLOW if an IOVA or the length is 2^64 − 1, EINVAL if devices may
 * neither read nor write, ENOENT if the source does not exist or is not wholly mapped; then ENOENT if the
 * destination does not exist, and as `IoPagetable.copy`.
 *
 * @internal
 */
export async function ioasCopy(
  context: Context,
  fields: IoasCopyFields,
  options?: Abortable,
): Promise<bigint> {
  const { flags, length, srcIova, dstIova } = fields;
  refuseFlags(flags, IOAS_MAP.FIXED_IOVA | IOAS_MAP.WRITEABLE | IOAS_MAP.READABLE);
  const bytes = readU64(length, 'length');
  const from = readU64(srcIova, 'srcIova');
  refuseLargest('length', bytes);
  refuseLargest('source iova', from);
  refuseLargest('destination iova', readU64(dstIova, 'dstIova'));
  refuseNoPermission(flags);
  const source = context.objects.get(fields.srcIoasId, Ioas);
  // The source range is looked at before the destination; where it is not mapped, the answer is ENOENT either way.
  if (!(context.objects.find(fields.dstIoasId) instanceof Ioas)) checkedInterval(from, bytes);
  const target = context.objects.get(fields.dstIoasId, Ioas);
  const placed = await holding([source, target], () =>
    target.table.copy({
      from: source.table,
      srcIova,
      length,
      prot: protectionOf(flags),
      iova: flags & IOAS_MAP.FIXED_IOVA ? dstIova : undefined,
      signal: options?.signal,
    }),
  );
  faultPoint(context.faults, 'response');
  return placed;
}

/** The fields of IOAS_UNMAP. */
export interface IoasUnmapFields {
  readonly ioasId: number;
  readonly iova: U64Input;
  readonly length: U64Input;
}

/**
 * IOAS_UNMAP: unmaps all areas inside a range, or with `iova` 0 and `length` 2^64 − 1 everything, and gives the
 * bytes unmapped.
 *
 * @throws ENOENT if there is no such address space, EOVERFLOW if `iova` or `length` is 2^64 − 1 otherwise, as
 * `IoPagetable.unmap`, and ENOENT if nothing was mapped in the range. `unmapped` of the error has the bytes that went
 * before an unmap failed.
 *
 * @internal
 */
export async function ioasUnmap(
  context: Context,
  fields: IoasUnmapFields,
  options?: Abortable,
): Promise<bigint> {
  const ioas = context.objects.get(fields.ioasId, Ioas);
  const iova = readU64(fields.iova, 'iova');
  const length = readU64(fields.length, 'length');
  const unmapped = await holding([ioas], async () => {
    if (isZero(iova) && isLargest(length)) return await ioas.table.unmapAll(options);
    refuseLargest('iova', iova);
    refuseLargest('length', length);
    const bytes = await ioas.table.unmap(fields.iova, fields.length, options);
    if (bytes === 0n) throw notMapped(iova);
    return bytes;
  });
  faultPoint(context.faults, 'response');
  return unmapped;
}

/** @throws EOPNOTSUPP if `flags` has bits outside `known`. */
export function refuseFlags(flags: number, known: number): void {
  if (flags & ~known) throw refuse('EOPNOTSUPP', 'unsupported', `flags ${hex(flags)} are not all known`);
}

function refuseLargest(what: string, value: Address): void {
  if (isLargest(value)) throw refuse('EOVERFLOW', 'overflow', `the ${what} is 2^64 - 1`);
}

function isLargest(value: Address): boolean {
  return value.page === LAST_PAGE && value.offset === PAGE_MASK;
}

function refuseNoPermission(flags: number): void {
  if (flags & (IOAS_MAP.READABLE | IOAS_MAP.WRITEABLE)) return;
  throw refuse('EINVAL', 'argument', 'a mapping must let devices read or write');
}

function protectionOf(flags: number): Protection {
  return protectionName((flags & IOAS_MAP.READABLE ? READ : 0) | (flags & IOAS_MAP.WRITEABLE ? WRITE : 0));
}

/** The commands on address spaces, with their fields and flags as the kernel takes them. */
import { checkedInterval, checkObject, type IovaRange, readU64 } from '../arguments.js';
import { type ErrorReason, IommuError, notMapped, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { IntervalTree } from '../interval-tree.js';
import { IoPagetable } from '../io-pagetable.js';
import type { DmaBuf } from '../memory/dma-buf.js';
import type { UserFile } from '../memory/user-file.js';
import { isThenable, mustWait, type Operation, start } from '../operation.js';
import { type Protection, protectionName, READ, WRITE } from '../protection.js';
import { addAllowed } from '../table/reservations.js';
import { type Address, between, hex, isLargest, isZero, join, type U64Input } from '../u64.js';
import type { Caller } from './caller.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';
import { type DeliverId, delivering, holding } from './object-table.js';

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
export function ioasAlloc(
  context: Context,
  fields: { readonly flags: number },
  deliver?: DeliverId,
): Promise<number> {
  return start(allocIoas(context, fields.flags, deliver));
}

function* allocIoas(context: Context, flags: number, deliver?: DeliverId): Operation<number> {
  refuseFlags(flags, 0);
  const ioas = yield* context.objects.creation((id) => makeIoas(context, id, deliver));
  return ioas.id;
}

function* makeIoas(context: Context, id: number, deliver?: DeliverId): Operation<Ioas> {
  faultPoint(context.faults, 'response');
  yield* delivering(id, deliver);
  // A change of process goes through all address spaces: none comes meanwhile.
  const { ioasCreation } = context;
  if (!ioasCreation.tryRead()) yield () => ioasCreation.read();
  ioasCreation.releaseRead();
  const memory = context.memoryOf(undefined);
  const { profile, faults } = context;
  const table = new IoPagetable({
    profile,
    ...(memory === undefined ? {} : { memory }),
    ...(faults === undefined ? {} : { faults }),
  });
  return new Ioas(id, table);
}

/**
 * IOAS_IOVA_RANGES: the IOVA that is not reserved.
 *
 * @throws ENOENT if there is no such address space; EMSGSIZE, a `PartialAnswerError` with the first `numIovas`
 * ranges, if there are more.
 *
 * @internal
 */
export const ioasIovaRanges = command(function* (
  context: Context,
  fields: { readonly ioasId: number; readonly numIovas: number },
): Operation<IovaRanges> {
  const ioas = context.objects.get(fields.ioasId, Ioas);
  const { ranges, alignment } = yield* holding([ioas], ioas.table.listingIovaRanges());
  const total = ranges.length;
  if (total <= fields.numIovas) return { ranges, total, alignment };
  const detail = `there are ${total} ranges, but room for ${fields.numIovas}`;
  throw new PartialAnswerError<IovaRanges>(
    { check: 'argument', detail },
    { ranges: ranges.slice(0, fields.numIovas), total, alignment },
  );
});

/**
 * IOAS_ALLOW_IOVAS: replaces the list of ranges that may not become reserved, and that automatic placement keeps to.
 *
 * @param fields - `ranges` is read once, in order, and no further than to the first one that is refused
 * @throws ENOENT if there is no such address space, EINVAL if a range has fewer than two bytes or meets an earlier
 * one, EADDRINUSE if one meets a reserved range. The old list stays then.
 *
 * @internal
 */
export const ioasAllowIovas = command(function* (
  context: Context,
  fields: { readonly ioasId: number; readonly ranges: Ranges },
): Operation<void> {
  const ioas = context.objects.get(fields.ioasId, Ioas);
  yield* holding([ioas], allowIovas(ioas, fields.ranges));
});

/** Ranges that come one after the other, perhaps late. */
type Ranges = Iterable<IovaRange> | AsyncIterable<IovaRange>;

function* allowIovas(ioas: Ioas, from: Ranges): Operation<void> {
  const ranges: IovaRange[] = [];
  const earlier = new IntervalTree<undefined>();
  yield* forEach(from, (range) => {
    checkObject(range, 'range');
    const start = readU64(range.start, 'start');
    const last = readU64(range.last, 'last');
    addAllowed(earlier, between(start, last));
    ranges.push({ start: join(start.page, start.offset), last: join(last.page, last.offset) });
  });
  yield* ioas.table.settingAllowedIova(ranges);
}

/** As `for await`, as a part of an operation. */
function* forEach<T>(values: Iterable<T> | AsyncIterable<T>, use: (value: T) => void): Operation<void> {
  const iterator =
    Symbol.asyncIterator in values ? values[Symbol.asyncIterator]() : values[Symbol.iterator]();
  for (;;) {
    const coming = iterator.next();
    const next = isThenable(coming) ? ((yield () => coming) as IteratorResult<T>) : coming;
    if (next.done) return;
    try {
      use(next.value);
    } catch (error) {
      const closing = iterator.return?.();
      if (isThenable(closing)) yield mustWait(() => closing);
      throw error;
    }
  }
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
export const ioasMap = command(function* (
  context: Context,
  fields: IoasMapFields,
  caller?: Caller,
): Operation<bigint> {
  const { flags, iova, userVa, length } = fields;
  refuseFlags(flags, IOAS_MAP.FIXED_IOVA | IOAS_MAP.WRITEABLE | IOAS_MAP.READABLE);
  refuseLargest('iova', readU64(iova, 'iova'));
  refuseLargest('length', readU64(length, 'length'));
  refuseNoPermission(flags);
  const ioas = context.objects.get(fields.ioasId, Ioas);
  const request = {
    uptr: userVa,
    length,
    prot: protectionOf(flags),
    accounting: context.accountingOf(caller),
    iova: flags & IOAS_MAP.FIXED_IOVA ? iova : undefined,
    memory: caller?.memory,
  };
  const placed = yield* holding([ioas], ioas.table.mapping(request));
  faultPoint(context.faults, 'response');
  return placed;
});

/** The fields of IOAS_MAP_FILE; the file or dma-buf stands for its descriptor. */
export interface IoasMapFileFields {
  readonly flags: number;
  readonly ioasId: number;
  /**
   * What the descriptor is of, or how to find that: it is looked for when it is needed, and EBADF thrown if there is
   * none.
   */
  readonly file: UserFile | DmaBuf | (() => UserFile | DmaBuf);
  /** Offset of the first byte. */
  readonly start: U64Input;
  readonly length: U64Input;
  /** As of IOAS_MAP. */
  readonly iova: U64Input;
}

/**
 * IOAS_MAP_FILE: maps pages of a file, or a dma-buf, and gives the IOVA. The caller is charged for pinned pages.
 *
 * @throws EOPNOTSUPP for unknown flags, EOVERFLOW if `iova` or `length` is 2^64 − 1, EINVAL if devices may neither
 * read nor write, ENOENT if there is no such address space; EINVAL if the length is 0, EOVERFLOW if the last byte is
 * past 2^64 − 1, then what looking for the file throws, and as `IoPagetable.map`.
 *
 * @internal
 */
export const ioasMapFile = command(function* (
  context: Context,
  fields: IoasMapFileFields,
  caller?: Caller,
): Operation<bigint> {
  const { flags, iova, start: from, length } = fields;
  refuseFlags(flags, IOAS_MAP.FIXED_IOVA | IOAS_MAP.WRITEABLE | IOAS_MAP.READABLE);
  const bytes = readU64(length, 'length');
  refuseLargest('iova', readU64(iova, 'iova'));
  refuseLargest('length', bytes);
  refuseNoPermission(flags);
  const ioas = context.objects.get(fields.ioasId, Ioas);
  checkedInterval(readU64(from, 'start'), bytes);
  const request = {
    file: typeof fields.file === 'function' ? fields.file() : fields.file,
    start: from,
    length,
    prot: protectionOf(flags),
    accounting: context.accountingOf(caller),
    iova: flags & IOAS_MAP.FIXED_IOVA ? iova : undefined,
    memory: caller?.memory,
  };
  const placed = yield* holding([ioas], ioas.table.mapping(request));
  faultPoint(context.faults, 'response');
  return placed;
});

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
export const ioasCopy = command(function* (context: Context, fields: IoasCopyFields): Operation<bigint> {
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
  const request = {
    from: source.table,
    srcIova,
    length,
    prot: protectionOf(flags),
    iova: flags & IOAS_MAP.FIXED_IOVA ? dstIova : undefined,
  };
  const placed = yield* holding([source, target], target.table.copying(request));
  faultPoint(context.faults, 'response');
  return placed;
});

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
export const ioasUnmap = command(function* (context: Context, fields: IoasUnmapFields): Operation<bigint> {
  const ioas = context.objects.get(fields.ioasId, Ioas);
  const iova = readU64(fields.iova, 'iova');
  const length = readU64(fields.length, 'length');
  const unmapped = yield* holding([ioas], unmap(ioas, iova, length));
  faultPoint(context.faults, 'response');
  return unmapped;
});

function* unmap(ioas: Ioas, iova: Address, length: Address): Operation<bigint> {
  if (isZero(iova) && isLargest(length)) return yield* ioas.table.unmappingAll();
  refuseLargest('iova', iova);
  refuseLargest('length', length);
  const from = join(iova.page, iova.offset);
  const bytes = yield* ioas.table.unmapping(from, join(length.page, length.offset));
  if (bytes === 0n) throw notMapped(iova);
  return bytes;
}

/** @throws EOPNOTSUPP if `flags` has bits outside `known`. */
export function refuseFlags(flags: number, known: number): void {
  if (flags & ~known) throw refuse('EOPNOTSUPP', 'unsupported', `flags ${hex(flags)} are not all known`);
}

function refuseLargest(what: string, value: Address): void {
  if (isLargest(value)) throw refuse('EOVERFLOW', 'overflow', `the ${what} is 2^64 - 1`);
}

function refuseNoPermission(flags: number): void {
  if (flags & (IOAS_MAP.READABLE | IOAS_MAP.WRITEABLE)) return;
  throw refuse('EINVAL', 'argument', 'a mapping must let devices read or write');
}

function protectionOf(flags: number): Protection {
  return protectionName((flags & IOAS_MAP.READABLE ? READ : 0) | (flags & IOAS_MAP.WRITEABLE ? WRITE : 0));
}

/** Hardware queues of virtual IOMMUs: memory of a guest's that hardware works on by itself. */
import { type LockedRange, lockRange } from '../access/locked-range.js';
import { readU64 } from '../arguments.js';
import { refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { Operation } from '../operation.js';
import {
  byteLength,
  hex,
  type Interval,
  intervalOf,
  isZero,
  join,
  LAST_PAGE,
  type U64Input,
} from '../u64.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { undoing } from './driver.js';
import type { Ioas } from './ioas.js';
import { refuseFlags } from './ioas-commands.js';
import {
  countOf,
  type DeliverId,
  delivering,
  holding,
  IommufdObject,
  type ObjectTable,
} from './object-table.js';
import { Viommu } from './viommu.js';
import type { HardwareQueue } from './viommu-driver.js';

/** Pages that a queue can have at most: the kernel keeps a list of them, of 8 bytes each, below 2 GiB. */
const MOST_PAGES = Math.floor((2 ** 31 - 1) / 8);

/**
 * What pins the memory of a hardware queue, and locks the areas there. It goes with the queue, and only then.
 *
 * @internal
 */
export class QueueAccess extends IommufdObject {
  static readonly kind = 'access';
  readonly kind = QueueAccess.kind;
  /** The address space that the memory is mapped in, which it keeps in use. */
  readonly ioas: Ioas;
  readonly memory: LockedRange;

  constructor(id: number, ioas: Ioas, memory: LockedRange) {
    super(id);
    this.ioas = ioas;
    this.memory = memory;
    ioas.users += 1;
    // The queue's hold: DESTROY refuses it.
    this.users = 1;
  }

  describeUsers(): string {
    return 'its hardware queue holds it';
  }

  override *dispose(): Operation<void> {
    this.ioas.users -= 1;
    yield* this.memory.releasing();
  }
}

/**
 * A hardware queue. It keeps its virtual IOMMU in use, and the queue that it depends on.
 *
 * @internal
 */
export class HwQueue extends IommufdObject implements HardwareQueue {
  static readonly kind = 'hardware queue';
  readonly kind = HwQueue.kind;
  readonly viommu: Viommu;
  readonly index: number;
  readonly iova: bigint;
  readonly length: bigint;
  readonly physical: bigint;
  /** What pins its memory. */
  readonly access: QueueAccess;
  /** The queue that has to live as long as this one. */
  dependsOn: HwQueue | undefined;
  readonly #objects: ObjectTable;

  constructor(
    id: number,
    objects: ObjectTable,
    parts: Pick<HwQueue, 'viommu' | 'index' | 'iova' | 'length' | 'physical' | 'access'>,
  ) {
    super(id);
    this.#objects = objects;
    this.viommu = parts.viommu;
    this.index = parts.index;
    this.iova = parts.iova;
    this.length = parts.length;
    this.physical = parts.physical;
    this.access = parts.access;
  }

  describeUsers(): string {
    return countOf(this.users, 'hardware queue or call in progress');
  }

  override *dispose(): Operation<void> {
    const { viommu, dependsOn, access } = this;
    viommu.queues.delete(this);
    viommu.users -= 1;
    if (dependsOn !== undefined) dependsOn.users -= 1;
    try {
      viommu.driver.removeQueue?.(this);
    } finally {
      yield* this.#objects.removal(access);
    }
  }
}

/** The fields of HW_QUEUE_ALLOC that are looked at. */
export interface HwQueueAllocFields {
  readonly flags: number;
  readonly viommuId: number;
  readonly type: number;
  readonly index: number;
  readonly nestingParentIova: U64Input;
  readonly length: U64Input;
}

/**
 * HW_QUEUE_ALLOC: makes a hardware queue in memory that is mapped in the address space of a virtual IOMMU, and gives its
 * id; the next id is taken, too, for the access that pins the memory.
 *
 * @param caller - `deliver`: hands the id over before the queue can be found
 * @throws EOPNOTSUPP for flags and for type 0, EINVAL for a length of 0, EOVERFLOW if the range passes 2^64 − 1, ENOENT if
 * there is no such virtual IOMMU, EOPNOTSUPP if it has no queues of this type, ERANGE if whole pages do not fit, ENOMEM
 * for too many of them, as `IoPagetable.access` and when an access that pins is attached, EFAULT if the pages are not
 * physically consecutive, what the driver throws, and what `deliver` throws. Nothing is left then.
 *
 * @internal
 */
export const hwQueueAlloc = command(function* (
  context: Context,
  fields: HwQueueAllocFields,
  caller?: { readonly deliver?: DeliverId | undefined },
): Operation<number> {
  const { flags, viommuId, type } = fields;
  refuseFlags(flags, 0);
  if (type === 0) throw refuse('EOPNOTSUPP', 'unsupported', 'type 0 is none');
  const iova = readU64(fields.nestingParentIova, 'iova');
  const length = readU64(fields.length, 'length');
  if (isZero(length)) throw refuse('EINVAL', 'argument', 'the length is 0');
  const range = intervalOf(iova, length);
  if (range === undefined) throw refuse('EOVERFLOW', 'overflow', 'the range reaches past 2^64 - 1');
  const viommu = context.objects.get(viommuId, Viommu);
  const { driver } = viommu;
  if (driver.queueType !== type || driver.addQueue === undefined) {
    throw refuse('EOPNOTSUPP', 'unsupported', `the virtual IOMMU has no queues of type ${hex(type)}`);
  }
  const pages = range.lastPage - range.page + 1;
  if (pages > LAST_PAGE) throw refuse('ERANGE', 'argument', 'whole pages of the range do not fit');
  if (pages > MOST_PAGES) throw refuse('ENOMEM', 'argument', `${pages} pages are too many for a queue`);
  const making = context.objects.creation((id) =>
    makeQueue(id, context, viommu, { index: fields.index, range }, caller?.deliver),
  );
  return (yield* holding([viommu], making)).id;
});

function* makeQueue(
  id: number,
  context: Context,
  viommu: Viommu,
  { index, range }: { readonly index: number; readonly range: Interval },
  deliver: DeliverId | undefined,
): Operation<HwQueue> {
  const { objects } = context;
  const { ioas } = viommu.parent;
  const access = yield* objects.creation(function* (accessId): Operation<QueueAccess> {
    return new QueueAccess(accessId, ioas, yield* lockRange(ioas.table, range));
  });
  try {
    const pfn = access.memory.contiguousFrom;
    if (pfn === undefined) {
      throw refuse('EFAULT', 'fault', 'the pages of the queue are not physically consecutive');
    }
    const queue = new HwQueue(id, objects, {
      viommu,
      index,
      iova: join(range.page, range.offset),
      length: byteLength(range),
      physical: join(pfn, range.offset),
      access,
    });
    yield* takeQueue(context, queue, deliver);
    return queue;
  } catch (error) {
    yield* undoing(objects.removal(access));
    throw error;
  }
}

/** Hands a queue to its driver, and its id to the caller. */
function* takeQueue(context: Context, queue: HwQueue, deliver: DeliverId | undefined): Operation<void> {
  const { driver, queues } = queue.viommu;
  const dependsOn = driver.addQueue?.(queue);
  try {
    faultPoint(context.faults, 'response');
    yield* delivering(queue.id, deliver);
  } catch (error) {
    driver.removeQueue?.(queue);
    throw error;
  }
  queue.dependsOn = dependsOn instanceof HwQueue && queues.has(dependsOn) ? dependsOn : undefined;
  if (queue.dependsOn !== undefined) queue.dependsOn.users += 1;
  queues.add(queue);
  queue.viommu.users += 1;
}

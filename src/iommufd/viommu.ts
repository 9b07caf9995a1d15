/** Virtual IOMMUs: what a guest gets of a device's IOMMU. */
import { checkObject } from '../arguments.js';
import { type IommuError, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { isThenable, type Operation } from '../operation.js';
import { hex } from '../u64.js';
import { BoundDevice } from './bound-device.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { type ReadData, readDriverData } from './driver-data.js';
import { HwPagetable } from './hwpt.js';
import { refuseFlags } from './ioas-commands.js';
import { countOf, type DeliverId, delivering, holding, IommufdObject } from './object-table.js';
import type { ViommuDriver, VirtualIommu } from './viommu-driver.js';

/**
 * A virtual IOMMU. It keeps its page table in use, the parent of the nested ones that a guest makes; hardware queues and
 * mapped windows keep the virtual IOMMU in use.
 *
 * @internal
 */
export class Viommu extends IommufdObject {
  static readonly kind = 'virtual IOMMU';
  readonly kind = Viommu.kind;
  /** The page table that its guest's memory is mapped in. */
  readonly parent: HwPagetable;
  /** The driver's side of it. */
  readonly driver: VirtualIommu;
  /** Its hardware queues. */
  readonly queues = new Set<IommufdObject>();
  readonly #windows: readonly bigint[];
  readonly #context: Context;

  constructor(
    id: number,
    context: Context,
    parent: HwPagetable,
    driver: VirtualIommu,
    windows: readonly bigint[],
  ) {
    super(id);
    this.#context = context;
    this.parent = parent;
    this.driver = driver;
    this.#windows = windows;
  }

  describeUsers(): string {
    const queues = countOf(this.queues.size, 'hardware queue');
    return `${queues} and ${countOf(this.users - this.queues.size, 'mapped window or call in progress')}`;
  }

  override *dispose(): Operation<void> {
    this.parent.viommus.delete(this);
    this.parent.users -= 1;
    for (const offset of this.#windows) this.#context.windows.remove(offset);
    yield* this.#context.callbacks.answer(() => this.driver.free?.());
  }
}

/** The fields of VIOMMU_ALLOC that are looked at. */
export interface ViommuAllocFields {
  readonly flags: number;
  readonly type: number;
  /** Id of a bound device. */
  readonly devId: number;
  /** Id of a page table that was made to be the parent of nested ones. */
  readonly hwptId: number;
  readonly dataLen: number;
  /** Reads the data; needed only where `dataLen` is not 0. */
  readonly readData: ReadData;
  /** Hands back what the driver has made of the data. */
  readonly writeData: (bytes: Uint8Array) => void | Promise<void>;
}

/**
 * VIOMMU_ALLOC: makes a virtual IOMMU on a page table for nesting, and gives its id.
 *
 * @param caller - `deliver`: hands the id over before the virtual IOMMU can be found
 * @throws EOPNOTSUPP for flags and for type 0, ENOENT if there is no such device, EOPNOTSUPP if it has no virtual IOMMU
 * of this type, ENOENT if there is no such page table, EINVAL if that was not made to be the parent of others or the data
 * has a wrong length, and what reading and writing the data, the driver and `deliver` throw. Nothing is left then.
 *
 * @internal
 */
export const viommuAlloc = command(function* (
  context: Context,
  fields: ViommuAllocFields,
  caller?: { readonly deliver?: DeliverId | undefined },
): Operation<number> {
  const { flags, type, devId, hwptId } = fields;
  refuseFlags(flags, 0);
  if (type === 0) throw refuse('EOPNOTSUPP', 'unsupported', 'type 0 is none');
  const bound = context.objects.get(devId, BoundDevice);
  const { viommu: maker } = bound.device;
  if (maker?.type !== type) {
    const detail = `device ${bound.name} has no virtual IOMMU of type ${hex(type)}`;
    throw refuse('EOPNOTSUPP', 'unsupported', detail);
  }
  const parent = context.objects.get(hwptId, HwPagetable);
  if (!parent.traits.nestParent) throw noNestingParent(parent);
  const making = context.objects.creation((id) =>
    makeViommu(id, context, maker, parent, fields, caller?.deliver),
  );
  return (yield* holding([bound, parent], making)).id;
});

function* makeViommu(
  id: number,
  context: Context,
  maker: ViommuDriver,
  parent: HwPagetable,
  fields: ViommuAllocFields,
  deliver: DeliverId | undefined,
): Operation<Viommu> {
  const { dataLen, readData, writeData } = fields;
  const { data: format } = maker;
  const data =
    dataLen === 0 || format === undefined ? undefined : yield* readDriverData(format, dataLen, readData);
  const windows: bigint[] = [];
  const viommus: Viommu[] = [];
  const addWindow = (bytes: Uint8Array) => {
    const offset = context.windows.add(bytes, () => viommus[0]);
    windows.push(offset);
    return offset;
  };
  let driver: VirtualIommu | undefined;
  try {
    driver = yield* context.callbacks.answer(() => maker.create({ data, addWindow }));
    checkObject(driver, 'the virtual IOMMU');
    if (data !== undefined) {
      const written = writeData(data.subarray(0, dataLen));
      if (isThenable(written)) yield () => written;
    }
    faultPoint(context.faults, 'response');
    yield* delivering(id, deliver);
  } catch (error) {
    for (const offset of windows) context.windows.remove(offset);
    driver?.free?.();
    throw error;
  }
  const viommu = new Viommu(id, context, parent, driver, windows);
  viommus.push(viommu);
  parent.viommus.add(viommu);
  parent.users += 1;
  return viommu;
}

/** EINVAL: a page table that cannot have nested ones. @internal */
export function noNestingParent(table: HwPagetable): IommuError {
  return refuse('EINVAL', 'argument', `page table ${table.id} was not made to be the parent of another`);
}

/** The fields of VDEVICE_ALLOC that are looked at. */
export interface VdeviceAllocFields {
  readonly viommuId: number;
  readonly devId: number;
}

/**
 * VDEVICE_ALLOC: virtual devices are not modelled.
 *
 * @throws ENOENT if there is no such virtual IOMMU or no such device, and EOPNOTSUPP.
 *
 * @internal
 */
export async function vdeviceAlloc({ objects }: Context, fields: VdeviceAllocFields): Promise<never> {
  objects.get(fields.viommuId, Viommu);
  objects.get(fields.devId, BoundDevice);
  throw refuse('EOPNOTSUPP', 'unsupported', 'virtual devices are not modelled');
}

/** The fields of VEVENTQ_ALLOC that are looked at. */
export interface VeventqAllocFields {
  readonly flags: number;
  readonly viommuId: number;
  readonly type: number;
  readonly veventqDepth: number;
}

/** The longest event queue that can be asked for. */
const MOST_EVENTS = 2 ** 19;

/**
 * VEVENTQ_ALLOC: event queues are not modelled.
 *
 * @throws EOPNOTSUPP for flags and for type 0, EINVAL for a depth of 0 or above 2^19, ENOENT if there is no such virtual
 * IOMMU, and EOPNOTSUPP.
 *
 * @internal
 */
export async function veventqAlloc({ objects }: Context, fields: VeventqAllocFields): Promise<never> {
  const { flags, viommuId, type, veventqDepth } = fields;
  refuseFlags(flags, 0);
  if (type === 0) throw refuse('EOPNOTSUPP', 'unsupported', 'type 0 is none');
  if (veventqDepth === 0 || veventqDepth > MOST_EVENTS) {
    throw refuse('EINVAL', 'argument', `a queue cannot hold ${veventqDepth} events`);
  }
  objects.get(viommuId, Viommu);
  throw refuse('EOPNOTSUPP', 'unsupported', 'event queues are not modelled');
}

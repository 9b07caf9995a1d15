/** A device bound to a context: attached to an address space or a page table, and moved between them. */
import { IommuError, refuse } from '../errors.js';
import { type Abortable, type Operation, start, unstoppable } from '../operation.js';
import { RwLock } from '../rw-lock.js';
import type { Context } from './context.js';
import { Driver, undoing } from './driver.js';
import { HwPagetable } from './hwpt.js';
import { Ioas, type PageTable } from './ioas.js';
import type { IommuDevice } from './iommu-device.js';
import { type Complaint, holding, IommufdObject, noSuchId, noTarget } from './object-table.js';

/** A device that has been bound to an `Iommufd` (`Iommufd.deviceBind`). Its driver holds it until `unbind`. */
export class BoundDevice extends IommufdObject {
  static readonly kind = 'device';
  readonly kind = BoundDevice.kind;
  /** The device itself. */
  readonly device: IommuDevice;
  /** @internal */
  readonly driver: Driver;
  readonly #context: Context;
  #hwpt: PageTable | undefined;
  #msiWindow: bigint | undefined;
  readonly #lock = new RwLock();

  /** @internal */
  constructor(id: number, context: Context, device: IommuDevice) {
    super(id);
    this.#context = context;
    this.device = device;
    this.driver = new Driver(device, context.callbacks);
    // The driver's hold: DESTROY refuses a bound device.
    this.users = 1;
  }

  /** The device's name, which errors call it by, also as the owner of reserved ranges. */
  get name(): string {
    return this.device.name;
  }

  /** Id of the page table the device is attached to; `undefined` while it is detached. */
  get hwpt(): number | undefined {
    return this.#hwpt?.id;
  }

  /**
   * First IOVA of the window in which the IOMMU's software maps interrupt doorbells (MSI) for the device, if its
   * reserved regions have one and it is attached.
   */
  get msiWindow(): bigint | undefined {
    return this.#msiWindow;
  }

  /** @internal */
  describeUsers(): string {
    return `its driver holds it; unbind device ${this.name}`;
  }

  /** One change at a time, in the order in which they were asked for. @internal */
  override *exclusively<T>(operation: Operation<T>): Operation<T> {
    if (!this.#lock.tryWrite()) yield () => this.#lock.write();
    try {
      return yield* operation;
    } finally {
      this.#lock.releaseWrite();
    }
  }

  /** @internal */
  override *release(): Operation<void> {
    this.complaint = yield* this.#leave();
  }

  /**
   * Attaches the device (the kernel's `iommufd_device_attach`) and gives the id of the page table it uses now.
   *
   * On an address space it takes the first automatic page table that accepts the device, or makes one; the last
   * device to leave an automatic table destroys it. Manual page tables are used only where they are named.
   *
   * @param pt - id of an address space or a page table
   * @throws ENOENT if there is no such object (any more, when it is this call's turn); EINVAL if it is of another kind,
   * the device is attached already, or its driver refuses the page table; EADDRINUSE if mappings or allowed ranges are
   * in the way of the device's reserved regions, or do not fit the page table; EFAULT or ENOMEM if mapped pages cannot
   * be pinned. The device stays detached and nothing else has changed then.
   */
  attach(pt: number, options?: Abortable): Promise<number> {
    return this.#context.perform('device_attach', this.exclusively(this.#attaching(pt)), options);
  }

  /**
   * Moves the attached device to another address space or page table (the kernel's `iommufd_device_replace`) and
   * gives the id of the page table it uses now. An existing page table takes over without a gap; one that is made
   * for an address space is attached first and filled then. On its own page table, or on an address space whose
   * automatic table it uses, nothing happens.
   *
   * @param pt - id of an address space or a page table
   * @throws EINVAL if the device is not attached, and as `attach`; the device stays where it was then. What its driver
   * throws when it frees the page table that was left is thrown on, but the device has moved.
   */
  replace(pt: number, options?: Abortable): Promise<number> {
    return this.#context.perform('device_replace', this.exclusively(this.#replacing(pt)), options);
  }

  /**
   * Detaches the device (the kernel's `iommufd_device_detach`). Does nothing if it is detached. What its driver throws
   * is thrown on, but the device is detached.
   */
  detach(options?: Abortable): Promise<void> {
    return this.#context.perform('device_detach', this.exclusively(this.#detaching()), options);
  }

  /**
   * Detaches the device and ends the binding (the kernel's `iommufd_device_unbind`); its id is free then. Nothing
   * happens if it is unbound already; while it is being unbound, this waits for the end of that, but not inside a
   * callback. What its driver throws is thrown on, but the device is unbound.
   */
  async unbind(options?: Abortable): Promise<void> {
    const { objects, callbacks, closed } = this.#context;
    if (!objects.has(this) && callbacks.maybeInside) return;
    const unbinding = this.exclusively(objects.removal(this));
    // A context that is closing unbinds devices, too. Whoever comes second waits for the other.
    if (closed || !objects.has(this)) await start(unbinding, options);
    else await this.#context.perform('device_unbind', unbinding, options);
  }

  *#attaching(pt: number): Operation<number> {
    if (this.#hwpt !== undefined) {
      throw refuse(
        'EINVAL',
        'state',
        `device ${this.name} is attached to page table ${this.#hwpt.id} already`,
      );
    }
    return yield* this.#attachTo(pt);
  }

  *#replacing(pt: number): Operation<number> {
    if (this.#hwpt === undefined) throw refuse('EINVAL', 'state', `device ${this.name} is not attached`);
    return yield* this.#attachTo(pt);
  }

  *#detaching(): Operation<void> {
    const complaint = yield* this.#leave();
    if (complaint !== undefined) throw complaint.error;
  }

  *#attachTo(pt: number): Operation<number> {
    const { objects } = this.#context;
    if (!objects.has(this)) {
      throw new IommuError('ENOENT', {
        check: 'object',
        id: String(this.id),
        detail: `(device ${this.name}) is unbound`,
      });
    }
    const target = objects.find(pt);
    if (target === undefined) throw noSuchId(pt);
    if (!(target instanceof Ioas || target instanceof HwPagetable)) throw noTarget(target);
    const before = this.#hwpt;
    const hwpt = yield* holding([target], target.exclusively(this.#enterTarget(target)));
    // Only now, with the new address space's list free again: two devices may be changing places.
    if (before !== undefined && before !== hwpt) yield* unstoppable(this.#leaveBehind(before, hwpt));
    return hwpt.id;
  }

  *#leaveBehind(before: PageTable, now: PageTable): Operation<void> {
    if (before.ioas !== now.ioas) yield* before.ioas.table.removingReservedIova(this);
    yield* before.exclusively(this.#bookOff(before));
  }

  /** Enters an address space or a page table, whose `exclusively` the caller is inside. */
  *#enterTarget(target: Ioas | HwPagetable): Operation<PageTable> {
    // An automatic page table goes with its last device, also while others wait for their turn to attach to it.
    if (!this.#context.objects.has(target)) throw noSuchId(target.id);
    return yield* target instanceof Ioas ? this.#enterAutomatic(target) : this.#enter(target);
  }

  /** Enters the first automatic page table that accepts the device, or a new one. */
  *#enterAutomatic(ioas: Ioas): Operation<PageTable> {
    for (const hwpt of ioas.hwpts) {
      if (!hwpt.traits.automatic) continue;
      try {
        return yield* this.#enter(hwpt);
      } catch (error) {
        if (!(error instanceof IommuError) || error.code !== 'EINVAL') throw error;
      }
    }
    return yield* this.#enterNew(ioas);
  }

  /** Enters a page table that mirrors its address space already. */
  *#enter(hwpt: PageTable): Operation<PageTable> {
    if (hwpt === this.#hwpt) return hwpt;
    yield* this.#reserveAround(hwpt.ioas, this.driver.attach(hwpt.domain));
    return this.#bookOn(hwpt);
  }

  /** Makes an automatic page table. The device is attached to it first; then it gets the address space's areas. */
  *#enterNew(ioas: Ioas): Operation<PageTable> {
    const request = { dirtyTracking: false, nestParent: false };
    const { driver } = this;
    const making = this.#context.objects.creation((id) =>
      driver.withDomain(request, (domain) => {
        const hwpt = new HwPagetable(id, ioas, domain, driver, { automatic: true, nestParent: false });
        return this.#enterAndFill(hwpt);
      }),
    );
    return this.#bookOn(yield* this.#reserveAround(ioas, making));
  }

  *#enterAndFill(hwpt: HwPagetable): Operation<HwPagetable> {
    const before = this.#hwpt;
    yield* this.driver.attach(hwpt.domain);
    try {
      yield* hwpt.mirror();
      return hwpt;
    } catch (error) {
      yield* undoing(before === undefined ? this.driver.detach() : this.driver.attach(before.domain));
      throw error;
    }
  }

  /** Reserves the device's regions around an attempt to enter an address space; undone if that fails. */
  *#reserveAround<T>(ioas: Ioas, attempt: Operation<T>): Operation<T> {
    // Inside one address space the regions are reserved already, and stay so whatever comes out.
    if (this.#hwpt?.ioas === ioas) return yield* attempt;
    const regions = this.device.reservedRegions ?? [];
    const { swMsiStart } = yield* ioas.table.enforcingReservedRegions(this, regions);
    try {
      const result = yield* attempt;
      this.#msiWindow = swMsiStart;
      return result;
    } catch (error) {
      yield* unstoppable(ioas.table.removingReservedIova(this));
      throw error;
    }
  }

  #bookOn(hwpt: PageTable): PageTable {
    hwpt.devices.add(this);
    hwpt.users += 1;
    this.#hwpt = hwpt;
    return hwpt;
  }

  /** Leaves the page table it is attached to, whatever its driver throws meanwhile; gives the first of that. */
  *#leave(): Operation<Complaint | undefined> {
    const hwpt = this.#hwpt;
    return hwpt && (yield* hwpt.exclusively(unstoppable(this.#leaveNow(hwpt))));
  }

  *#leaveNow(hwpt: PageTable): Operation<Complaint | undefined> {
    let complaint: Complaint | undefined;
    try {
      yield* this.driver.detach();
    } catch (error) {
      complaint = { error };
    }
    this.#hwpt = undefined;
    this.#msiWindow = undefined;
    yield* hwpt.ioas.table.removingReservedIova(this);
    try {
      yield* this.#bookOff(hwpt);
    } catch (error) {
      complaint ??= { error };
    }
    return complaint;
  }

  /** The caller is changing the list of page tables of the table's address space. */
  *#bookOff(hwpt: PageTable): Operation<void> {
    hwpt.devices.delete(this);
    hwpt.users -= 1;
    if (hwpt.traits.automatic && hwpt.devices.size === 0) yield* this.#context.objects.removal(hwpt);
  }
}

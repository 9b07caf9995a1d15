/** A device bound to a context: attached to an address space or a page table, and moved between them. */
import { IommuError, refuse } from '../errors.js';
import { RwLock } from '../rw-lock.js';
import { type Context, holding } from './context.js';
import { addHwpt, HwPagetable } from './hwpt.js';
import { Ioas } from './ioas.js';
import type { IommuDevice } from './iommu-device.js';
import { aKind, IommufdObject } from './object-table.js';

/** A device that has been bound to an `Iommufd` (`Iommufd.deviceBind`). Its driver holds it until `unbind`. */
export class BoundDevice extends IommufdObject {
  static readonly kind = 'device';
  readonly kind = BoundDevice.kind;
  /** The device itself. */
  readonly device: IommuDevice;
  readonly #context: Context;
  #hwpt: HwPagetable | undefined;
  #msiWindow: bigint | undefined;
  readonly #lock = new RwLock();

  /** @internal */
  constructor(id: number, context: Context, device: IommuDevice) {
    super(id);
    this.#context = context;
    this.device = device;
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

  /** @internal */
  async dispose(): Promise<void> {
    if (this.#hwpt !== undefined) await this.#leave(this.#hwpt);
  }

  /**
   * Attaches the device (the kernel's `iommufd_device_attach`) and gives the id of the page table it uses now.
   *
   * On an address space it takes the first automatic page table that accepts the device, or makes one; the last
   * device to leave an automatic table destroys it. Manual page tables are used only where they are named.
   *
   * @param pt - id of an address space or a page table
   * @throws ENOENT if there is no such object; EINVAL if it is of another kind, the device is attached already, or
   * its driver refuses the page table; EADDRINUSE if mappings or allowed ranges are in the way of the device's
   * reserved regions, or do not fit the page table; EFAULT or ENOMEM if mapped pages cannot be pinned. The device
   * stays detached and nothing else has changed then.
   */
  attach(pt: number): Promise<number> {
    return this.#change('device_attach', async () => {
      if (this.#hwpt !== undefined) {
        throw refuse(
          'EINVAL',
          'state',
          `device ${this.name} is attached to page table ${this.#hwpt.id} already`,
        );
      }
      return await this.#attachTo(pt);
    });
  }

  /**
   * Moves the attached device to another address space or page table (the kernel's `iommufd_device_replace`) and
   * gives the id of the page table it uses now. An existing page table takes over without a gap; one that is made
   * for an address space is attached first and filled then. On its own page table, or on an address space whose
   * automatic table it uses, nothing happens.
   *
   * @param pt - id of an address space or a page table
   * @throws EINVAL if the device is not attached, and as `attach`; the device stays where it was then.
   */
  replace(pt: number): Promise<number> {
    return this.#change('device_replace', async () => {
      if (this.#hwpt === undefined) throw refuse('EINVAL', 'state', `device ${this.name} is not attached`);
      return await this.#attachTo(pt);
    });
  }

  /**
   * Detaches the device (the kernel's `iommufd_device_detach`). Does nothing if it is detached. What its driver throws
   * is thrown on, but the device is detached.
   */
  detach(): Promise<void> {
    return this.#change('device_detach', async () => {
      if (this.#hwpt !== undefined) await this.#leave(this.#hwpt);
    });
  }

  /**
   * Detaches the device and ends the binding (the kernel's `iommufd_device_unbind`); its id is free then. Nothing
   * happens if it is unbound already. What its driver throws is thrown on, but the device is unbound.
   */
  async unbind(): Promise<void> {
    const { objects } = this.#context;
    // A context that is closing sees to it by itself.
    if (this.#context.closed || !objects.has(this)) return;
    await this.#change('device_unbind', () => objects.remove(this));
  }

  /** One change at a time, in the order in which they were asked for. */
  #change<T>(syscall: string, work: () => Promise<T>): Promise<T> {
    return this.#context.run(syscall, async () => {
      if (!this.#lock.tryWrite()) await this.#lock.write();
      try {
        return await work();
      } finally {
        this.#lock.releaseWrite();
      }
    });
  }

  async #attachTo(pt: number): Promise<number> {
    const { objects } = this.#context;
    if (!objects.has(this)) {
      throw new IommuError('ENOENT', {
        check: 'object',
        id: String(this.id),
        detail: `(device ${this.name}) is unbound`,
      });
    }
    const target = objects.find(pt);
    if (target === undefined) {
      throw new IommuError('ENOENT', { check: 'object', id: String(pt), detail: 'does not exist' });
    }
    const before = this.#hwpt;
    const hwpt = await holding([target], () => target.exclusively(() => this.#enterTarget(target)));
    // Only now, with the new address space's list free again: two devices may be changing places.
    if (before !== undefined && before !== hwpt) {
      if (before.ioas !== hwpt.ioas) await before.ioas.table.removeReservedIova(this);
      await before.exclusively(() => this.#bookOff(before));
    }
    return hwpt.id;
  }

  /** Enters an address space or a page table, whose `exclusively` the caller is inside. */
  async #enterTarget(target: IommufdObject): Promise<HwPagetable> {
    if (target instanceof Ioas) return await this.#enterAutomatic(target);
    if (target instanceof HwPagetable) return await this.#enter(target);
    throw new IommuError('EINVAL', {
      check: 'object',
      id: String(target.id),
      detail: `is ${aKind(target.kind)}, neither an address space nor a page table`,
    });
  }

  /** Enters the first automatic page table that accepts the device, or a new one. */
  async #enterAutomatic(ioas: Ioas): Promise<HwPagetable> {
    for (const hwpt of ioas.hwpts) {
      if (!hwpt.traits.automatic) continue;
      try {
        return await this.#enter(hwpt);
      } catch (error) {
        if (!(error instanceof IommuError) || error.code !== 'EINVAL') throw error;
      }
    }
    return await this.#enterNew(ioas);
  }

  /** Enters a page table that mirrors its address space already. */
  async #enter(hwpt: HwPagetable): Promise<HwPagetable> {
    if (hwpt === this.#hwpt) return hwpt;
    await this.#reserveAround(hwpt.ioas, async () => this.device.attach?.(hwpt.domain));
    return this.#bookOn(hwpt);
  }

  /** Makes an automatic page table. The device is attached to it first; then it gets the address space's areas. */
  async #enterNew(ioas: Ioas): Promise<HwPagetable> {
    const { device } = this;
    const before = this.#hwpt;
    const hwpt = await this.#reserveAround(ioas, () =>
      this.#context.objects.create(async (id) => {
        const domain = device.createDomain({ dirtyTracking: false, nestParent: false });
        let entered = false;
        try {
          device.attach?.(domain);
          entered = true;
          return await addHwpt(id, ioas, domain, { automatic: true, nestParent: false, maker: device });
        } catch (error) {
          if (entered) this.#goBack(before);
          device.freeDomain?.(domain);
          throw error;
        }
      }),
    );
    return this.#bookOn(hwpt);
  }

  /** Points the device at the page table that it used before a failed attempt, if it used one. */
  #goBack(hwpt: HwPagetable | undefined): void {
    if (hwpt === undefined) this.device.detach?.();
    else this.device.attach?.(hwpt.domain);
  }

  /** Reserves the device's regions around an attempt to enter an address space; undone if that fails. */
  async #reserveAround<T>(ioas: Ioas, attempt: () => Promise<T>): Promise<T> {
    // Inside one address space the regions are reserved already, and stay so whatever comes out.
    if (this.#hwpt?.ioas === ioas) return await attempt();
    const regions = this.device.reservedRegions ?? [];
    const { swMsiStart } = await ioas.table.enforceReservedRegions(this, regions);
    try {
      const result = await attempt();
      this.#msiWindow = swMsiStart;
      return result;
    } catch (error) {
      await ioas.table.removeReservedIova(this);
      throw error;
    }
  }

  #bookOn(hwpt: HwPagetable): HwPagetable {
    hwpt.devices.add(this);
    hwpt.users += 1;
    this.#hwpt = hwpt;
    return hwpt;
  }

  async #leave(hwpt: HwPagetable): Promise<void> {
    await hwpt.exclusively(async () => {
      try {
        this.device.detach?.();
      } finally {
        this.#hwpt = undefined;
        this.#msiWindow = undefined;
        await hwpt.ioas.table.removeReservedIova(this);
        await this.#bookOff(hwpt);
      }
    });
  }

  /** The caller is changing the list of page tables of the table's address space. */
  async #bookOff(hwpt: HwPagetable): Promise<void> {
    hwpt.devices.delete(this);
    hwpt.users -= 1;
    if (hwpt.traits.automatic && hwpt.devices.size === 0) await this.#context.objects.remove(hwpt);
  }
}

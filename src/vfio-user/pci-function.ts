/** A PCI function: its regions, its capabilities, what a write of its configuration space does. */
import { checkInteger, checkObject, invalidType, outOfRange } from '../arguments.js';
import { type IommuError, refuse } from '../errors.js';
import { PAGE_SIZE } from '../u64.js';
import { Bar } from './bar.js';
import {
  ExpressCapability,
  MsiCapability,
  MsixCapability,
  PowerCapability,
  VENDOR_SPECIFIC,
} from './capabilities.js';
import { COMMAND_BIT, CONFIG, CONVENTIONAL_SIZE, ConfigSpace, EXPRESS_SIZE } from './config-space.js';
import type { DescriptorSupport, MappedFile } from './descriptors.js';
import type { DeviceCalls } from './device-calls.js';
import type { DmaState } from './dma.js';
import { Interrupts } from './interrupts.js';
import { MsixTable } from './msix-table.js';
import type { BarOptions, BarPart, PciDeviceOptions } from './pci-options.js';
import { REGION, REGION_FLAG } from './protocol.js';

const SMALLEST_ROM = 2048;
const LARGEST_BAR = 2 ** 40;
const PINS = ['A', 'B', 'C', 'D'];

/** What a client can know of a region. */
export interface RegionFacts {
  readonly size: number;
  readonly flags: number;
  /** With `REGION_FLAG.MMAP`: of what file, and which parts of it; none: all of it. */
  readonly shared?: { readonly descriptor: number; readonly areas: readonly BarPart[] } | undefined;
}

/** Memory of a BAR that the client can map. */
interface SharedBar {
  readonly descriptor: number;
  readonly mapped: MappedFile;
  readonly areas: readonly BarPart[];
}

/** What a function tells the device that it belongs to. */
export interface FunctionListener {
  /** It was reset, and everything is as after power-on. */
  reset(): void;
}

/** A PCI function. */
export class PciFunction implements DmaState {
  readonly options: PciDeviceOptions;
  readonly bars: ReadonlyMap<number, Bar>;
  readonly #listener: FunctionListener;
  readonly #rom: Uint8Array | undefined;
  readonly #table: MsixTable | undefined;
  readonly #tableAt: { readonly bar: number; readonly table: number; readonly pending: number } | undefined;
  readonly #shared = new Map<number, SharedBar>();
  #config: ConfigSpace;
  #interrupts: Interrupts;
  #power: PowerCapability | undefined;
  #express: ExpressCapability | undefined;
  #descriptors = true;
  /** Whether it is stopped for a migration. */
  #stopped = false;

  /** @throws TypeError or RangeError if the options describe no device */
  constructor(options: PciDeviceOptions, calls: DeviceCalls, listener: FunctionListener) {
    checkOptions(options);
    this.options = options;
    this.#listener = listener;
    const bars = new Map<number, Bar>();
    for (const [index, bar] of barsOf(options)) bars.set(index, new Bar(bar, calls));
    this.bars = bars;
    this.#rom = options.rom === undefined ? undefined : romOf(options.rom);
    const { msix } = options;
    if (msix !== undefined) {
      const bar = bars.get(msix.bar)!;
      this.#tableAt = placeTable(msix, bar.size, options.bars?.[msix.bar] === undefined);
      this.#table = new MsixTable(msix.vectors, () => this.#interrupts.deliverPending());
      for (const window of this.#table.windows(this.#tableAt.table, this.#tableAt.pending))
        bar.addWindow(window);
    }
    ({ config: this.#config, interrupts: this.#interrupts } = this.#build());
  }

  get config(): ConfigSpace {
    return this.#config;
  }

  get interrupts(): Interrupts {
    return this.#interrupts;
  }

  get table(): MsixTable | undefined {
    return this.#table;
  }

  /**
   * Says whether clients pass descriptors. Without, a device that has MSI has nothing else, as nothing else would work.
   *
   * @throws EOPNOTSUPP if none of its interrupts would work
   */
  setDescriptors(descriptors: boolean, advice: string): void {
    const { msi, msix, intx } = this.options;
    if (!descriptors && msi === undefined && (msix !== undefined || intx !== undefined)) {
      const lacking = msix === undefined ? 'INTx' : 'MSI-X';
      throw refuse('EOPNOTSUPP', 'unsupported', `${lacking} needs descriptors, and MSI does not: ${advice}`);
    }
    if (descriptors === this.#descriptors) return;
    this.#descriptors = descriptors;
    ({ config: this.#config, interrupts: this.#interrupts } = this.#build());
  }

  /** Makes the configuration space, as it is after power-on. */
  #build(): { config: ConfigSpace; interrupts: Interrupts } {
    const { options } = this;
    const config = new ConfigSpace(options.express ? EXPRESS_SIZE : CONVENTIONAL_SIZE);
    const others = this.#descriptors || options.msi === undefined;
    config.set(CONFIG.VENDOR, 2, options.vendor);
    config.set(CONFIG.DEVICE, 2, options.device);
    config.set(CONFIG.REVISION, 1, options.revision ?? 0);
    config.set(CONFIG.CLASS, 1, options.class & 0xff);
    config.set(CONFIG.CLASS + 1, 2, options.class >> 8);
    config.set(CONFIG.SUBSYSTEM_VENDOR, 2, options.subsystemVendor ?? 0);
    config.set(CONFIG.SUBSYSTEM, 2, options.subsystem ?? 0);
    config.allow(CONFIG.CACHE_LINE, 1, 0xff);
    config.allow(CONFIG.INTERRUPT_LINE, 1, 0xff);
    const pin = options.intx !== undefined && others;
    if (pin) config.set(CONFIG.INTERRUPT_PIN, 1, PINS.indexOf(options.intx ?? '') + 1);
    this.#layBars(config);
    this.#power = options.powerManagement ? new PowerCapability(config) : undefined;
    const msi = options.msi === undefined ? undefined : new MsiCapability(config, options.msi.vectors);
    const at = this.#tableAt;
    const msix =
      at === undefined || !others
        ? undefined
        : new MsixCapability(config, options.msix!.vectors, at.bar, at.table, at.pending);
    this.#express = options.express ? new ExpressCapability(config) : undefined;
    for (const { id = VENDOR_SPECIFIC, data, writable } of options.capabilities ?? []) {
      const offset = config.addCapability(id, data);
      for (const [byte, bits] of (writable ?? []).entries()) config.allow(offset + 2 + byte, 1, bits);
    }
    config.seal();
    const interrupts = new Interrupts({ config, pin, msi, msix, table: this.#table });
    return { config, interrupts };
  }

  #layBars(config: ConfigSpace): void {
    let command = COMMAND_BIT.BUS_MASTER | COMMAND_BIT.PARITY | COMMAND_BIT.SERR | COMMAND_BIT.INTX_DISABLE;
    for (const [index, { size, options }] of this.bars) {
      const at = CONFIG.BAR0 + 4 * index;
      const { kind = 'memory32', prefetchable = false } = options;
      // The low bits of the mask; beyond 32 bits all of the low word is address or nothing.
      const low = size >= 2 ** 32 ? 0 : ~(size - 1) >>> 0;
      if (kind === 'io') {
        config.set(at, 4, 1);
        config.allow(at, 4, low);
        command |= COMMAND_BIT.IO;
        continue;
      }
      command |= COMMAND_BIT.MEMORY;
      config.set(at, 4, (kind === 'memory64' ? 4 : 0) | (prefetchable ? 8 : 0));
      config.allow(at, 4, low);
      if (kind !== 'memory64') continue;
      const high = size >= 2 ** 32 ? ~(size / 2 ** 32 - 1) >>> 0 : 0xffff_ffff;
      config.allow(at + 4, 4, high);
    }
    if (this.#rom !== undefined) {
      config.allow(CONFIG.ROM, 4, (~(this.#rom.length - 1) | 1) >>> 0);
      command |= COMMAND_BIT.MEMORY;
    }
    config.allow(CONFIG.COMMAND, 2, command);
  }

  /** Whether the guest lets it do DMA. */
  get busMaster(): boolean {
    return (this.#config.get(CONFIG.COMMAND, 2) & COMMAND_BIT.BUS_MASTER) !== 0;
  }

  get dmaRefusal(): IommuError | undefined {
    if (this.#stopped) return refuse('EBUSY', 'state', 'the device is stopped for a migration');
    if (!this.busMaster) return refuse('EPERM', 'state', 'the guest has not switched on bus mastering');
    if (this.#power?.on === false)
      return refuse('EPERM', 'state', 'the guest has switched the device off (D3)');
    return undefined;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  set stopped(stopped: boolean) {
    this.#stopped = stopped;
  }

  /** Makes memory of BARs so that the client can map it. */
  shareMemory(support: DescriptorSupport): void {
    for (const [index, bar] of this.bars) {
      const areas = this.#areasOf(index, bar);
      if (areas.length === 0 || bar.options.kind === 'io') continue;
      const descriptor = support.createMemory(bar.size);
      let mapped: MappedFile;
      try {
        mapped = support.map(descriptor, bar.size, true);
      } catch (error) {
        support.close(descriptor);
        throw error;
      }
      bar.moveMemory(mapped.bytes);
      this.#shared.set(index, { descriptor, mapped, areas });
    }
  }

  /** Takes the memory of BARs back to where it was. */
  unshareMemory(support: DescriptorSupport): void {
    for (const [index, { descriptor, mapped }] of this.#shared) {
      const bar = this.bars.get(index)!;
      bar.moveMemory(new Uint8Array(bar.size));
      mapped.unmap();
      support.close(descriptor);
    }
    this.#shared.clear();
  }

  /** The whole pages of a BAR that are nothing but plain memory. */
  #areasOf(index: number, bar: Bar): BarPart[] {
    const areas: BarPart[] = [];
    for (const { offset, size } of bar.parts) {
      let first = -1;
      const past = offset + size;
      for (let page = Math.ceil(offset / PAGE_SIZE) * PAGE_SIZE; ; page += PAGE_SIZE) {
        const plain = page + PAGE_SIZE <= past && !this.#hasTable(index, page);
        if (plain && first < 0) first = page;
        if (!plain && first >= 0) {
          areas.push({ offset: first, size: page - first });
          first = -1;
        }
        if (page + PAGE_SIZE > past) break;
      }
    }
    return areas;
  }

  #hasTable(index: number, page: number): boolean {
    const at = this.#tableAt;
    if (at === undefined || at.bar !== index) return false;
    const { vectors } = this.#table!;
    const meets = (offset: number, size: number) => offset < page + PAGE_SIZE && offset + size > page;
    return meets(at.table, MsixTable.sizeOf(vectors)) || meets(at.pending, MsixTable.pendingSizeOf(vectors));
  }

  /** What there is to know of a region. @throws EINVAL if a PCI device cannot have it */
  region(index: number): RegionFacts {
    if (index > REGION.VGA) throw refuse('EINVAL', 'argument', `there is no region ${index}`);
    const readWrite = REGION_FLAG.READ | REGION_FLAG.WRITE;
    if (index === REGION.CONFIG) return { size: this.#config.size, flags: readWrite };
    if (index === REGION.ROM && this.#rom !== undefined) {
      return { size: this.#rom.length, flags: REGION_FLAG.READ };
    }
    const bar = this.bars.get(index);
    if (bar === undefined) return { size: 0, flags: 0 };
    const shared = this.#shared.get(index);
    if (shared === undefined) return { size: bar.size, flags: readWrite };
    const { descriptor, areas } = shared;
    const all = areas.length === 1 && areas[0]!.size === bar.size;
    const flags = readWrite | REGION_FLAG.MMAP | (all ? 0 : REGION_FLAG.CAPS);
    return { size: bar.size, flags, shared: { descriptor, areas: all ? [] : areas } };
  }

  /** The bytes of a region. @throws EINVAL if they are not all in it, or none; what a handler throws */
  read(region: number, offset: bigint, count: number): Uint8Array {
    const at = this.#checkAccess(region, offset, count);
    if (region === REGION.CONFIG) return this.#config.read(at, count);
    if (region === REGION.ROM) return this.#rom!.slice(at, at + count);
    return this.bars.get(region)!.read(at, count);
  }

  /** Writes bytes of a region. @throws as `read`; EINVAL if it cannot be written */
  write(region: number, offset: bigint, bytes: Uint8Array): void {
    const at = this.#checkAccess(region, offset, bytes.length);
    if (region === REGION.CONFIG) this.#writeConfig(at, bytes);
    else if (region === REGION.ROM) throw refuse('EINVAL', 'argument', 'a ROM cannot be written');
    else this.bars.get(region)!.write(at, bytes);
  }

  #checkAccess(region: number, offset: bigint, count: number): number {
    const { size } = this.region(region);
    if (count === 0 || offset + BigInt(count) > BigInt(size)) {
      throw refuse('EINVAL', 'argument', `bytes ${offset} + ${count} of region ${region}, which has ${size}`);
    }
    return Number(offset);
  }

  #writeConfig(offset: number, bytes: Uint8Array): void {
    const wasOn = this.#power?.on ?? true;
    this.#config.write(offset, bytes);
    this.#power?.wrote(wasOn);
    if (this.#express?.takeResetRequest()) this.reset();
    else this.#interrupts.configWritten();
  }

  /** Everything as after power-on; what is the client's stays: maps and event descriptors. */
  reset(): void {
    this.#config.reset();
    this.#interrupts.reset();
    this.#listener.reset();
  }
}

/** The BARs of a device, with the one that only MSI-X needs. */
function barsOf({ bars = {}, msix }: PciDeviceOptions): Map<number, BarOptions> {
  const all = new Map<number, BarOptions>();
  for (const [name, bar] of Object.entries(bars)) if (bar !== undefined) all.set(Number(name), bar);
  if (msix !== undefined && !all.has(msix.bar)) {
    const needed = MsixTable.sizeOf(msix.vectors) + MsixTable.pendingSizeOf(msix.vectors);
    const behind = Math.max(needed, (msix.tableOffset ?? 0) + needed, (msix.pendingOffset ?? 0) + 8);
    all.set(msix.bar, { size: Math.max(PAGE_SIZE, 2 ** Math.ceil(Math.log2(behind))) });
  }
  return new Map([...all].sort(([a], [b]) => a - b));
}

/** Where the table of MSI-X and its pending bits are. @throws RangeError if they are not in their BAR */
function placeTable(msix: NonNullable<PciDeviceOptions['msix']>, size: number, own: boolean) {
  const bytes = MsixTable.sizeOf(msix.vectors);
  const pendingBytes = MsixTable.pendingSizeOf(msix.vectors);
  const table = msix.tableOffset ?? (own ? 0 : size - bytes - pendingBytes);
  const pending = msix.pendingOffset ?? table + bytes;
  const parts = [
    ['options.msix.tableOffset', table, bytes],
    ['options.msix.pendingOffset', pending, pendingBytes],
  ] as const;
  for (const [name, offset, length] of parts) {
    if (!Number.isInteger(offset) || offset < 0 || offset % 8 !== 0 || offset + length > size) {
      throw outOfRange(offset, name, `a multiple of 8, with ${length} bytes in a BAR of ${size}`);
    }
  }
  if (table < pending + pendingBytes && pending < table + bytes) {
    throw outOfRange(pending, 'options.msix.pendingOffset', 'outside the table');
  }
  return { bar: msix.bar, table, pending };
}

function romOf(content: Uint8Array): Uint8Array {
  const rom = new Uint8Array(Math.max(SMALLEST_ROM, 2 ** Math.ceil(Math.log2(content.length))));
  rom.set(content);
  return rom;
}

/** @throws TypeError or RangeError if options describe no device */
function checkOptions(options: PciDeviceOptions): void {
  checkObject(options, 'options');
  checkInteger(options.vendor, 'options.vendor', 0, 0xffff);
  checkInteger(options.device, 'options.device', 0, 0xffff);
  checkInteger(options.class, 'options.class', 0, 0xff_ffff);
  checkInteger(options.revision ?? 0, 'options.revision', 0, 0xff);
  checkInteger(options.subsystemVendor ?? 0, 'options.subsystemVendor', 0, 0xffff);
  checkInteger(options.subsystem ?? 0, 'options.subsystem', 0, 0xffff);
  if (options.intx !== undefined && !PINS.includes(options.intx)) {
    throw invalidType(options.intx, 'options.intx', "'A', 'B', 'C' or 'D'");
  }
  if (options.rom !== undefined && !(options.rom instanceof Uint8Array)) {
    throw invalidType(options.rom, 'options.rom', 'a Uint8Array');
  }
  if ((options.rom?.length ?? 1) === 0) throw outOfRange(0, 'options.rom.length', 'at least 1');
  const { msi, msix } = options;
  if (msi !== undefined && ![1, 2, 4, 8, 16, 32].includes(msi.vectors)) {
    throw outOfRange(msi.vectors, 'options.msi.vectors', '1, 2, 4, 8, 16 or 32');
  }
  if (msix !== undefined) {
    checkInteger(msix.vectors, 'options.msix.vectors', 1, 2048);
    checkInteger(msix.bar, 'options.msix.bar', 0, 5);
  }
  const { saveState, loadState } = options;
  if ((saveState === undefined) !== (loadState === undefined)) {
    throw invalidType(loadState, 'options.loadState', 'there if options.saveState is, and only then');
  }
  for (const [at, { id = VENDOR_SPECIFIC, data, writable }] of (options.capabilities ?? []).entries()) {
    checkInteger(id, `options.capabilities[${at}].id`, 1, 0xff);
    if (!(data instanceof Uint8Array)) {
      throw invalidType(data, `options.capabilities[${at}].data`, 'a Uint8Array');
    }
    if (writable !== undefined && !(writable instanceof Uint8Array && writable.length <= data.length)) {
      throw invalidType(writable, `options.capabilities[${at}].writable`, 'a Uint8Array no longer than data');
    }
  }
  checkBars(options);
}

function checkBars(options: PciDeviceOptions): void {
  let taken = -1;
  for (const [index, bar] of barsOf(options)) {
    const name = `options.bars[${index}]`;
    checkInteger(index, 'a number of options.bars', 0, 5);
    checkObject(bar, name);
    const { size, kind = 'memory32', memory } = bar;
    if (kind !== 'memory32' && kind !== 'memory64' && kind !== 'io') {
      throw invalidType(kind, `${name}.kind`, "'memory32', 'memory64' or 'io'");
    }
    const most = kind === 'io' ? 256 : kind === 'memory32' ? 2 ** 31 : LARGEST_BAR;
    checkInteger(size, `${name}.size`, kind === 'io' ? 4 : 16, most);
    if (2 ** Math.round(Math.log2(size)) !== size) throw outOfRange(size, `${name}.size`, 'a power of two');
    if (index <= taken) throw outOfRange(index, 'options.bars', 'free: the BAR before has 64 bits');
    if (kind === 'memory64' && index === 5) {
      throw outOfRange(kind, `${name}.kind`, 'of 32 bits: there is no BAR after it');
    }
    taken = kind === 'memory64' ? index + 1 : index;
    for (const part of memory === true ? [] : (memory ?? [])) {
      checkInteger(part.offset, `${name}.memory[].offset`, 0, size);
      checkInteger(part.size, `${name}.memory[].size`, 4, size - part.offset);
      if (part.offset % 4 !== 0 || part.size % 4 !== 0) {
        throw outOfRange(part.offset, `${name}.memory[]`, 'multiples of 4');
      }
    }
  }
}

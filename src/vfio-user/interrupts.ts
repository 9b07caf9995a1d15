/** A device's interrupts: the pin, MSI and MSI-X, and the event descriptors by which a client hears of them. */
import { refuse } from '../errors.js';
import type { MsiCapability, MsixCapability } from './capabilities.js';
import { COMMAND_BIT, CONFIG, type ConfigSpace, STATUS_BIT } from './config-space.js';
import type { DescriptorSupport } from './descriptors.js';
import type { MsixTable } from './msix-table.js';
import { IRQ, IRQ_COUNT, IRQ_FLAG, IRQ_SET_FLAG } from './protocol.js';

/** What an interrupt is sent with: writes a 32-bit number to an address, after all that was sent before. */
export type MessageSender = (address: bigint, data: number) => void;

/** What a device has of interrupts. */
export interface InterruptParts {
  readonly config: ConfigSpace;
  readonly pin: boolean;
  readonly msi: MsiCapability | undefined;
  readonly msix: MsixCapability | undefined;
  readonly table: MsixTable | undefined;
}

/** What DEVICE_SET_IRQS asks for. */
export interface IrqRequest {
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** With `DATA_BOOL`: which ones. */
  readonly chosen: Uint8Array;
  /** Each is closed by whoever gets it, also if the request is refused. */
  readonly descriptors: readonly number[];
}

const DATA = IRQ_SET_FLAG.DATA_NONE | IRQ_SET_FLAG.DATA_BOOL | IRQ_SET_FLAG.DATA_EVENTFD;
const ACTION = IRQ_SET_FLAG.MASK | IRQ_SET_FLAG.UNMASK | IRQ_SET_FLAG.TRIGGER;

/** A device's interrupts. */
export class Interrupts {
  readonly #parts: InterruptParts;
  /** By kind, and by vector. */
  readonly #eventFds: readonly Map<number, number>[];
  /** Whether the line is high. */
  #high = false;
  /** Whether the client has heard of the line, and not answered yet. */
  #masked = false;
  #send: MessageSender | undefined;
  #descriptors: DescriptorSupport | undefined;

  constructor(parts: InterruptParts) {
    this.#parts = parts;
    this.#eventFds = Array.from({ length: IRQ_COUNT }, () => new Map<number, number>());
  }

  /** How many interrupts of a kind there are, and what they can do. */
  info(index: number): { readonly flags: number; readonly count: number } {
    const messages = IRQ_FLAG.EVENTFD | IRQ_FLAG.NORESIZE;
    const { pin, msi, msix } = this.#parts;
    switch (index) {
      case IRQ.INTX:
        return { flags: IRQ_FLAG.EVENTFD | IRQ_FLAG.MASKABLE | IRQ_FLAG.AUTOMASKED, count: pin ? 1 : 0 };
      case IRQ.MSI:
        return { flags: messages, count: msi?.vectors ?? 0 };
      case IRQ.MSIX:
        return { flags: messages, count: msix?.vectors ?? 0 };
      case IRQ.ERR:
      case IRQ.REQ:
        return { flags: messages, count: 1 };
      default:
        throw refuse('EINVAL', 'argument', `there is no interrupt of kind ${index}`);
    }
  }

  /** Does what a client asks for. @throws EINVAL if it cannot be; nothing has changed then */
  set(request: IrqRequest): void {
    const taken = new Set<number>();
    try {
      this.#set(request, taken);
    } finally {
      for (const descriptor of request.descriptors)
        if (!taken.has(descriptor)) this.#descriptors?.close(descriptor);
    }
  }

  #set(request: IrqRequest, taken: Set<number>): void {
    const { flags, index, start, count, chosen, descriptors } = request;
    const most = this.info(index).count;
    const data = flags & DATA;
    const action = flags & ACTION;
    if ((flags & ~(DATA | ACTION)) !== 0 || !isOneBit(data) || !isOneBit(action)) {
      throw refuse('EINVAL', 'argument', `flags 0x${flags.toString(16)} of an interrupt say nothing`);
    }
    if (count === 0 && data === IRQ_SET_FLAG.DATA_NONE && action === IRQ_SET_FLAG.TRIGGER) {
      this.#takeAway(index);
      return;
    }
    if (count === 0 || start + count > most) {
      throw refuse('EINVAL', 'argument', `interrupts ${start} + ${count}, of ${most}`);
    }
    const eventFds = data === IRQ_SET_FLAG.DATA_EVENTFD;
    if (descriptors.length !== 0 && (!eventFds || descriptors.length !== count)) {
      throw refuse('EINVAL', 'argument', `${descriptors.length} descriptors for ${count} interrupts`);
    }
    if (data === IRQ_SET_FLAG.DATA_BOOL && chosen.length < count) {
      throw refuse('EINVAL', 'argument', `${chosen.length} choices for ${count} interrupts`);
    }
    if (action !== IRQ_SET_FLAG.TRIGGER) {
      if (index !== IRQ.INTX || eventFds) {
        throw refuse('EINVAL', 'unsupported', 'only the pin can be masked, and not by an event descriptor');
      }
      if (data === IRQ_SET_FLAG.DATA_NONE || chosen[0] !== 0) this.#mask(action === IRQ_SET_FLAG.MASK);
      return;
    }
    if (eventFds) this.#assign(index, start, count, descriptors, taken);
    else {
      for (let at = 0; at < count; at++) {
        if (data === IRQ_SET_FLAG.DATA_NONE || chosen[at] !== 0) {
          this.#signal(this.#eventFds[index]!.get(start + at));
        }
      }
    }
  }

  #assign(
    index: number,
    start: number,
    count: number,
    descriptors: readonly number[],
    taken: Set<number>,
  ): void {
    for (const descriptor of descriptors) {
      if (this.#descriptors?.isEventfd(descriptor)) continue;
      throw refuse('EINVAL', 'argument', `descriptor ${descriptor} is no eventfd`);
    }
    const eventFds = this.#eventFds[index]!;
    for (let at = 0; at < count; at++) {
      const old = eventFds.get(start + at);
      if (old !== undefined) this.#descriptors?.close(old);
      const descriptor = descriptors[at];
      if (descriptor === undefined) eventFds.delete(start + at);
      else eventFds.set(start + at, descriptor);
      if (descriptor !== undefined) taken.add(descriptor);
    }
    if (index === IRQ.INTX) this.#mask(false);
    if (index === IRQ.MSIX) this.deliverPending();
  }

  #takeAway(index: number): void {
    const eventFds = this.#eventFds[index]!;
    for (const eventFd of eventFds.values()) this.#descriptors?.close(eventFd);
    eventFds.clear();
  }

  /** From now on there is a client. @param descriptors - absent: none come from it */
  connect(send: MessageSender, descriptors: DescriptorSupport | undefined): void {
    this.#send = send;
    this.#descriptors = descriptors;
  }

  /** The client has gone, and its descriptors with it. */
  disconnect(): void {
    this.#send = undefined;
    this.#masked = false;
    for (let index = 0; index < IRQ_COUNT; index++) this.#takeAway(index);
    this.#descriptors = undefined;
  }

  /**
   * An interrupt: MSI-X or MSI, whichever is on, or else the line, which stays high until `lower`.
   *
   * @throws RangeError if there is no such vector
   */
  raise(vector: number): void {
    const { msi, msix, pin } = this.#parts;
    const most = Math.max(msi?.vectors ?? 0, msix?.vectors ?? 0, pin ? 1 : 0);
    if (!Number.isInteger(vector) || vector < 0 || vector >= most) {
      throw new RangeError(`The device has no interrupt ${vector}: it has ${most}`);
    }
    if (msix !== undefined && (msix.enabled || this.#eventFds[IRQ.MSIX]!.size > 0)) this.#raiseMsix(vector);
    else if (msi?.enabled) this.#raiseMsi(msi, vector);
    else if (pin) this.raiseLine();
  }

  /** Whether the line is high. */
  get high(): boolean {
    return this.#high;
  }

  /** Makes the line high. */
  raiseLine(): void {
    this.#setLine(true);
    this.#signalLine();
  }

  /** Lowers the line. */
  lower(): void {
    this.#setLine(false);
  }

  #setLine(high: boolean): void {
    this.#high = high;
    this.#parts.config.setBits(CONFIG.STATUS, 2, STATUS_BIT.INTERRUPT, high);
  }

  #raiseMsix(vector: number): void {
    const { table } = this.#parts;
    if (vector >= table!.vectors) throw new RangeError(`MSI-X has no vector ${vector}`);
    if (!this.#tellMsix(vector)) table!.setPending(vector, true);
  }

  /** Sends the message of a vector, if it can be sent. */
  #tellMsix(vector: number): boolean {
    const { msix, table } = this.#parts;
    if (msix!.masked || table!.masked(vector)) return false;
    const eventFd = this.#eventFds[IRQ.MSIX]!.get(vector);
    if (eventFd !== undefined) {
      this.#signal(eventFd);
      return true;
    }
    const message = table!.message(vector);
    if (message === undefined || this.#send === undefined || !this.#mastering) return false;
    this.#send(message.address, message.data);
    return true;
  }

  /** After a change of the table, its masks or the client: sends what had to wait. */
  deliverPending(): void {
    const { msix, table } = this.#parts;
    if (msix === undefined || table === undefined) return;
    if (!msix.enabled && this.#eventFds[IRQ.MSIX]!.size === 0) return;
    for (let vector = 0; vector < table.vectors; vector++) {
      if (table.pending(vector) && this.#tellMsix(vector)) table.setPending(vector, false);
    }
  }

  #raiseMsi(msi: MsiCapability, vector: number): void {
    const used = vector % msi.granted;
    const eventFd = this.#eventFds[IRQ.MSI]!.get(used);
    if (eventFd !== undefined) this.#signal(eventFd);
    else if (this.#mastering) this.#send?.(msi.address, msi.data(used));
  }

  get #mastering(): boolean {
    return (this.#parts.config.get(CONFIG.COMMAND, 2) & COMMAND_BIT.BUS_MASTER) !== 0;
  }

  #mask(masked: boolean): void {
    this.#masked = masked;
    if (!masked) this.#signalLine();
  }

  /** Says that the line is high, once until the client answers. */
  #signalLine(): void {
    const off = (this.#parts.config.get(CONFIG.COMMAND, 2) & COMMAND_BIT.INTX_DISABLE) !== 0;
    const eventFd = this.#eventFds[IRQ.INTX]!.get(0);
    if (!this.#high || this.#masked || off || eventFd === undefined) return;
    this.#masked = true;
    this.#signal(eventFd);
  }

  #signal(eventFd: number | undefined): void {
    if (eventFd !== undefined) this.#descriptors?.signal(eventFd);
  }

  /** After a write of configuration space. */
  configWritten(): void {
    this.#signalLine();
    this.deliverPending();
  }

  /** A reset: the line is low, nothing is pending. Event descriptors stay. */
  reset(): void {
    this.#setLine(false);
    this.#masked = false;
    this.#parts.table?.reset();
  }
}

function isOneBit(value: number): boolean {
  return value !== 0 && (value & (value - 1)) === 0;
}

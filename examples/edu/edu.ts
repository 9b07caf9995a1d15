/**
 * A device to learn drivers with: registers, a DMA engine, an interrupt. Its registers are those of the `edu` device
 * that QEMU has, so programs and drivers that are written for that one drive this one, too.
 */
import { type AccessWidth, PciDevice } from 'io-pagetable/vfio-user';

const IDENTITY = 0x010000ed;
/** Bytes of the memory that its DMA engine copies from and to, and where that is. */
const MEMORY_SIZE = 4096;
const MEMORY = 0x40000;

const Register = {
  identity: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAck: 0x64,
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;

const DMA_START = 1;
const DMA_TO_GUEST = 2;
const DMA_THEN_INTERRUPT = 4;
/** Bits of the interrupt status that the DMA engine sets. */
const DMA_DONE = 0x100;
const DMA_REFUSED = 0x200;

/** What it is plugged into. */
export interface EduOptions {
  /** Whether the VMM passes descriptors: interrupts by MSI-X or the pin need them, MSI does not. */
  readonly descriptors: boolean;
}

export class Edu {
  readonly device: PciDevice;
  /** The device's own memory. */
  readonly memory = new Uint8Array(MEMORY_SIZE);
  #liveness = 0;
  #factorial = 0;
  #interruptStatus = 0;
  /** Source, destination and count, each of which is written as two halves. */
  readonly #dma = new DataView(new ArrayBuffer(24));
  #running = false;

  constructor({ descriptors }: EduOptions) {
    this.device = new PciDevice({
      vendor: 0x1234,
      device: 0x11e9,
      class: 0xff0000,
      revision: 0x10,
      bars: {
        0: {
          size: 0x100000,
          read: (offset) => this.#read(offset),
          write: (offset, width, value) => this.#write(offset, width, value),
        },
      },
      ...(descriptors ? { intx: 'A', msix: { vectors: 4, bar: 1 } } : { msi: { vectors: 1 } }),
    });
    this.device.on('reset', () => this.#reset());
  }

  #reset(): void {
    this.memory.fill(0);
    this.#liveness = this.#factorial = this.#interruptStatus = 0;
    new Uint8Array(this.#dma.buffer).fill(0);
  }

  #read(offset: number): number {
    if (offset >= Register.dmaSource && offset < Register.dmaCommand) {
      return this.#dma.getUint32(offset - Register.dmaSource, true);
    }
    switch (offset) {
      case Register.identity:
        return IDENTITY;
      case Register.liveness:
        return ~this.#liveness >>> 0;
      case Register.factorial:
        return this.#factorial;
      case Register.interruptStatus:
        return this.#interruptStatus;
      case Register.dmaCommand:
        return this.#running ? DMA_START : 0;
      default:
        return 0;
    }
  }

  #write(offset: number, width: AccessWidth, value: number): Promise<void> | undefined {
    if (width !== 4) return;
    if (offset >= Register.dmaSource && offset < Register.dmaCommand) {
      if (!this.#running) this.#dma.setUint32(offset - Register.dmaSource, value, true);
      return;
    }
    switch (offset) {
      case Register.liveness:
        this.#liveness = value;
        return;
      case Register.factorial:
        this.#factorial = factorial(value);
        return;
      case Register.interruptRaise:
        this.#raise(value);
        return;
      case Register.interruptAck:
        this.#interruptStatus &= ~value;
        if (this.#interruptStatus === 0) this.device.clearInterrupt();
        return;
      case Register.dmaCommand:
        if ((value & DMA_START) === 0 || this.#running) return;
        return this.#copy(value);
    }
    return;
  }

  /** Copies between the guest and the device's memory. What is not mapped or not there fails, and is told. */
  async #copy(command: number): Promise<void> {
    const source = this.#dma.getBigUint64(0, true);
    const destination = this.#dma.getBigUint64(8, true);
    const count = this.#dma.getBigUint64(16, true);
    const begin = ((command & DMA_TO_GUEST) !== 0 ? source : destination) - BigInt(MEMORY);
    let status = DMA_DONE;
    this.#running = true;
    try {
      if (begin < 0n || count > BigInt(MEMORY_SIZE) || begin + count > BigInt(MEMORY_SIZE)) {
        throw new RangeError('outside of the memory of the device');
      }
      const bytes = this.memory.subarray(Number(begin), Number(begin + count));
      if ((command & DMA_TO_GUEST) !== 0) await this.device.dma.write(destination, bytes);
      else await this.device.dma.read(source, bytes);
    } catch {
      status = DMA_REFUSED;
    } finally {
      this.#running = false;
    }
    if ((command & DMA_THEN_INTERRUPT) !== 0) this.#raise(status);
  }

  #raise(bits: number): void {
    this.#interruptStatus = (this.#interruptStatus | bits) >>> 0;
    this.device.interrupt(0);
  }
}

/** The last 32 bits of the factorial. */
function factorial(of: number): number {
  let product = 1;
  // From 34 on all of these bits are 0.
  for (let factor = 2; factor <= Math.min(of, 34); factor += 1) product = Math.imul(product, factor);
  return product >>> 0;
}

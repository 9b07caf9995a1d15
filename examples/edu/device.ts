/**
 * A teaching device: registers, an engine that copies between the guest's memory and a buffer, and an interrupt.
 *
 * BAR 0, all registers of 32 bits unless said otherwise:
 *
 * | at | what |
 * | --- | --- |
 * | 0x00 | identification: 0x010000ed (read only) |
 * | 0x04 | liveness: reads as the complement of what was written |
 * | 0x08 | factorial: write n, read n! once bit 0 of the status is 0 |
 * | 0x20 | status: bit 0 busy with a factorial (read only), bit 7 interrupt when it is done |
 * | 0x24 | interrupt status (read only): what was raised and not acknowledged |
 * | 0x60 | raise: these bits are set in the interrupt status |
 * | 0x64 | acknowledge: these bits are cleared there |
 * | 0x80 | DMA: source address (64 bits) |
 * | 0x88 | DMA: destination address (64 bits) |
 * | 0x90 | DMA: bytes (64 bits) |
 * | 0x98 | DMA: bit 0 start, and reads as 1 while it runs; bit 1: from the device to memory; bit 2: interrupt (0x100) at its end; bit 3: it failed (read only) |
 *
 * The engine's buffer is at 0x40000, of 4096 bytes.
 */
import { PciDevice } from 'io-pagetable/vfio-user';

const BUFFER_AT = 0x4_0000n;
const FACTORIAL_DONE = 0x001;
const DMA_DONE = 0x100;

const STATUS_BUSY = 0x01;
const STATUS_INTERRUPT = 0x80;

const DMA_RUN = 1;
const DMA_TO_MEMORY = 2;
const DMA_INTERRUPT = 4;
const DMA_FAILED = 8;

/** How it tells the guest of interrupts. */
export type EduInterrupts = 'intx' | 'msi' | 'msix';

/** A teaching device. */
export class EduDevice {
  readonly pci: PciDevice;
  /** The DMA engine's own memory. */
  readonly buffer = new Uint8Array(4096);
  #liveness = 0;
  #factorial = 0;
  #status = 0;
  #interrupts = 0;
  #source = 0n;
  #destination = 0n;
  #count = 0n;
  #command = 0;

  constructor(interrupts: readonly EduInterrupts[] = ['msi', 'intx']) {
    this.pci = new PciDevice({
      vendor: 0x1234,
      device: 0x11e8,
      class: 0x00ff00,
      revision: 0x10,
      bars: {
        0: {
          size: 0x10_0000,
          read: (offset) => this.#read(offset),
          write: (offset, _width, value) => this.#write(offset, value),
        },
      },
      intx: interrupts.includes('intx') ? 'A' : undefined,
      msi: interrupts.includes('msi') ? { vectors: 1 } : undefined,
      msix: interrupts.includes('msix') ? { vectors: 1, bar: 1 } : undefined,
      saveState: () => this.#save(),
      loadState: (state) => this.#load(state),
    });
    this.pci.on('reset', () => this.#reset());
  }

  #read(offset: number): number {
    switch (offset) {
      case 0x00:
        return 0x0100_00ed;
      case 0x04:
        return this.#liveness;
      case 0x08:
        return this.#factorial;
      case 0x20:
        return this.#status;
      case 0x24:
        return this.#interrupts;
      case 0x80:
        return low(this.#source);
      case 0x84:
        return high(this.#source);
      case 0x88:
        return low(this.#destination);
      case 0x8c:
        return high(this.#destination);
      case 0x90:
        return low(this.#count);
      case 0x98:
        return this.#command;
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case 0x04:
        this.#liveness = ~value >>> 0;
        break;
      case 0x08:
        this.#compute(value);
        break;
      case 0x20:
        this.#status = (this.#status & STATUS_BUSY) | (value & STATUS_INTERRUPT);
        break;
      case 0x60:
        this.#raise(value);
        break;
      case 0x64:
        this.#interrupts = (this.#interrupts & ~value) >>> 0;
        if (this.#interrupts === 0) this.pci.clearInterrupt();
        break;
      case 0x80:
        this.#source = withLow(this.#source, value);
        break;
      case 0x84:
        this.#source = withHigh(this.#source, value);
        break;
      case 0x88:
        this.#destination = withLow(this.#destination, value);
        break;
      case 0x8c:
        this.#destination = withHigh(this.#destination, value);
        break;
      case 0x90:
        this.#count = withLow(this.#count, value);
        break;
      case 0x94:
        this.#count = withHigh(this.#count, value);
        break;
      case 0x98:
        if ((this.#command & DMA_RUN) === 0 && (value & DMA_RUN) !== 0) void this.#transfer(value);
        break;
    }
  }

  #compute(n: number): void {
    this.#status |= STATUS_BUSY;
    setImmediate(() => {
      let product = 1;
      for (let factor = 2; factor <= n && product !== 0; factor++) product = Math.imul(product, factor);
      this.#factorial = product >>> 0;
      this.#status &= ~STATUS_BUSY;
      if ((this.#status & STATUS_INTERRUPT) !== 0) this.#raise(FACTORIAL_DONE);
    });
  }

  #raise(bits: number): void {
    this.#interrupts = (this.#interrupts | bits) >>> 0;
    if (this.#interrupts !== 0) this.pci.interrupt(0);
  }

  /** Runs the DMA engine: nobody waits for it but the guest, which looks at the command or gets an interrupt. */
  async #transfer(command: number): Promise<void> {
    this.#command = command & (DMA_RUN | DMA_TO_MEMORY | DMA_INTERRUPT);
    let failed = 0;
    try {
      const toMemory = (command & DMA_TO_MEMORY) !== 0;
      const own = (toMemory ? this.#source : this.#destination) - BUFFER_AT;
      if (own < 0n || own + this.#count > BigInt(this.buffer.length))
        throw new RangeError('not in the buffer');
      const bytes = this.buffer.subarray(Number(own), Number(own + this.#count));
      if (toMemory) await this.pci.dma.write(this.#destination, bytes);
      else await this.pci.dma.read(this.#source, bytes);
    } catch {
      failed = DMA_FAILED;
    }
    this.#command = (this.#command & ~DMA_RUN) | failed;
    if ((command & DMA_INTERRUPT) !== 0) this.#raise(DMA_DONE);
  }

  #reset(): void {
    this.#liveness = 0;
    this.#factorial = 0;
    this.#status = 0;
    this.#interrupts = 0;
    this.#source = 0n;
    this.#destination = 0n;
    this.#count = 0n;
    this.#command = 0;
    this.buffer.fill(0);
  }

  #save(): Uint8Array {
    const state = new Uint8Array(48 + this.buffer.length);
    const view = new DataView(state.buffer);
    const words = [this.#liveness, this.#factorial, this.#status, this.#interrupts, this.#command];
    for (const [at, word] of words.entries()) view.setUint32(4 * at, word, true);
    for (const [at, long] of [this.#source, this.#destination, this.#count].entries()) {
      view.setBigUint64(24 + 8 * at, long, true);
    }
    state.set(this.buffer, 48);
    return state;
  }

  #load(state: Uint8Array): void {
    const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
    this.#liveness = view.getUint32(0, true);
    this.#factorial = view.getUint32(4, true);
    this.#status = view.getUint32(8, true);
    this.#interrupts = view.getUint32(12, true);
    this.#command = view.getUint32(16, true);
    this.#source = view.getBigUint64(24, true);
    this.#destination = view.getBigUint64(32, true);
    this.#count = view.getBigUint64(40, true);
    this.buffer.set(state.subarray(48));
  }
}

function low(value: bigint): number {
  return Number(value & 0xffff_ffffn);
}

function high(value: bigint): number {
  return Number(value >> 32n);
}

function withLow(value: bigint, word: number): bigint {
  return (value & ~0xffff_ffffn) | BigInt(word);
}

function withHigh(value: bigint, word: number): bigint {
  return (value & 0xffff_ffffn) | (BigInt(word) << 32n);
}

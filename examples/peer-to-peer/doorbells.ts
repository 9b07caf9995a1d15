/** The exporter: a device that others write to. */
import type { DmaBufExporter } from 'io-pagetable';

/** A device whose BAR has doorbells: others write numbers there, and it looks at them. */
export class Doorbells {
  readonly #registers: DataView;

  constructor({ buffer }: DmaBufExporter) {
    this.#registers = new DataView(buffer);
  }

  /** The 32-bit register at a byte of the BAR. */
  read(offset: number): number {
    return this.#registers.getUint32(offset, true);
  }
}

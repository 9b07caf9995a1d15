/**
 * A device that doesn't stop writing.
 */
import { type Host, PAGE_SIZE } from './host.js';

/** Writes records of 600 bytes at places all over a guest's memory, the same ones in each run. */
export class BusyDevice {
  /** Records written. */
  written = 0;
  readonly #host: Host;
  readonly #pagesPerRecord: number;
  #time = 0;
  #place = 1;

  /** @param pagesPerRecord - how many pages are copied in the time of one record */
  constructor(host: Host, pagesPerRecord: number) {
    this.#host = host;
    this.#pagesPerRecord = pagesPerRecord;
  }

  /** The time of one page has passed. */
  tick(): void {
    this.#time += 1;
    if (this.#time % this.#pagesPerRecord !== 0) return;
    this.written += 1;
    const record = new Uint8Array(600).fill(this.written);
    this.#place = (this.#place * 48_271) % 0x7fff_ffff;
    this.#host.dma(this.#place % (this.#host.pages * PAGE_SIZE - record.length), record);
  }
}

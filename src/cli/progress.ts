/**
 * A progress bar on standard error.
 */
import { formatBytes } from '../render/index.js';
import type { Terminal } from './terminal.js';

/** Logs below this size are done before anyone would look at a bar. */
const WORTH_A_BAR = 8 * 2 ** 20;
const NARROWEST = 40;
const WIDEST_BAR = 40;

/** The progress of reading one log. Without a terminal, or for a small log, nothing is ever shown. */
export class ProgressBar {
  readonly #terminal: Terminal;
  readonly #total: number;
  #done = 0;
  #shown = '';

  /** @param total - bytes of the log; `undefined` if that is not known */
  constructor(terminal: Terminal, total: number | undefined) {
    this.#terminal = terminal;
    const columns = terminal.errColumns ?? 0;
    this.#total = total !== undefined && total >= WORTH_A_BAR && columns >= NARROWEST ? total : 0;
  }

  /** So many bytes more have been read. */
  advance(bytes: number): void {
    if (this.#total === 0) return;
    this.#done += bytes;
    const share = Math.min(1, this.#done / this.#total);
    const percent = `${Math.floor(share * 100)}`.padStart(3);
    const sizes = `${percent} % of ${formatBytes(BigInt(this.#total))}`;
    const width = Math.min(WIDEST_BAR, this.#terminal.errColumns! - sizes.length - 4);
    const full = Math.round(share * width);
    this.#show(`[${'#'.repeat(full)}${'.'.repeat(width - full)}] ${sizes}`);
  }

  /** Makes room for other output; the next `advance` shows the bar again. */
  clear(): void {
    this.#show('');
  }

  #show(text: string): void {
    if (text === this.#shown) return;
    this.#terminal.err(`\r${text.padEnd(this.#shown.length)}${text === '' ? '\r' : ''}`);
    this.#shown = text;
  }
}

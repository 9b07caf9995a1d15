/**
 * The list of operations. Of a long list, only the rows in sight are in the document.
 */
import type { RecordedStep } from '../../replay/recording.js';
import { printable } from '../format.js';
import { tag } from './dom.js';
import { isRefused } from './timeline.js';

const ROW = 46;
const MORE = 6;

/** Shows some of the steps; one of them may be the current one. */
export class Operations {
  readonly #list: HTMLElement;
  readonly #rows: HTMLElement;
  readonly #steps: readonly RecordedStep[];
  readonly #select: (time: number) => void;
  /** Indexes of the steps that are shown. */
  #shown: readonly number[] = [];
  #time = 0;

  constructor(
    list: HTMLElement,
    rows: HTMLElement,
    steps: readonly RecordedStep[],
    select: (time: number) => void,
  ) {
    this.#list = list;
    this.#rows = rows;
    this.#steps = steps;
    this.#select = select;
    list.addEventListener('scroll', () => this.#draw());
    list.addEventListener('keydown', (event) => this.#key(event));
    list.addEventListener('click', (event) => {
      const row = event.target instanceof Element ? event.target.closest('[data-time]') : null;
      if (row !== null) select(Number(row.getAttribute('data-time')));
    });
  }

  /** Shows those steps that a test holds for. */
  filter(shows: (step: RecordedStep) => boolean): void {
    this.#shown = [...this.#steps.keys()].filter((at) => shows(this.#steps[at]!));
    this.#rows.style.height = `${this.#shown.length * ROW}px`;
    this.moveTo(this.#time);
  }

  /** Makes the step before a time the current one, and brings it into sight. */
  moveTo(time: number): void {
    this.#time = time;
    const place = this.#placeOf(time);
    const { scrollTop, clientHeight } = this.#list;
    if (place * ROW < scrollTop || (place + 1) * ROW > scrollTop + clientHeight) {
      this.#list.scrollTop = Math.max(0, place * ROW - clientHeight / 2);
    }
    this.#draw();
  }

  /** Draws again, after the size has changed. */
  resize(): void {
    this.#draw();
  }

  /** Where the last shown step before a time is; the first one if there is none. */
  #placeOf(time: number): number {
    let [from, to] = [0, this.#shown.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#shown[middle]! < time) from = middle + 1;
      else to = middle;
    }
    return Math.max(0, from - 1);
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.#list;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - MORE);
    const drawn = this.#shown.slice(first, Math.ceil((scrollTop + clientHeight) / ROW) + MORE);
    this.#rows.replaceChildren(...drawn.map((at, offset) => this.#row(at, first + offset)));
    const current = this.#rows.querySelector('[aria-selected=true]');
    if (current === null) this.#list.removeAttribute('aria-activedescendant');
    else this.#list.setAttribute('aria-activedescendant', current.id);
  }

  #row(at: number, place: number): HTMLElement {
    const step = this.#steps[at]!;
    const state = step.diverges ? 'diverges' : isRefused(step) ? 'refused' : 'fine';
    const row = document.createElement('div');
    row.id = `operation-${at}`;
    row.className = `operation ${state}`;
    row.style.top = `${place * ROW}px`;
    const attributes = {
      role: 'option',
      'data-time': at + 1,
      'aria-posinset': place + 1,
      'aria-setsize': this.#shown.length,
      'aria-selected': at + 1 === this.#time,
    };
    for (const [name, value] of Object.entries(attributes)) row.setAttribute(name, String(value));
    const answer = step.diverges
      ? `✗ log: ${step.logged}, model: ${step.answered}`
      : `${step.answered === 'OK' ? '✓' : '!'} ${step.answered}`;
    row.append(
      tag('span', printable(step.call), 'call'),
      tag('span', printable(answer), 'answer'),
      tag('span', `line ${step.line}`, 'line'),
    );
    return row;
  }

  #key(event: KeyboardEvent): void {
    const here = this.#placeOf(this.#time);
    const page = Math.max(1, Math.floor(this.#list.clientHeight / ROW) - 1);
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: here + 1,
      ArrowUp: here - 1,
      PageDown: here + page,
      PageUp: here - page,
      Home: 0,
      End: this.#shown.length - 1,
    };
    const to = moves[event.key];
    if (to === undefined || this.#shown.length === 0) return;
    event.preventDefault();
    this.#select(this.#shown[Math.max(0, Math.min(this.#shown.length - 1, to))]! + 1);
  }
}

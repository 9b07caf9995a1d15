/**
 * The space at one time, as a picture whose rows can be walked with the arrow keys.
 */

import type { DrawnSpace } from '../drawn-spans.js';
import { element } from '../markup.js';
import { type DrawOptions, drawSpace } from '../svg.js';
import { mount } from './dom.js';

/** Draws into a box, and tells of the row that is pointed at or has the focus. */
export class Picture {
  readonly #box: HTMLElement;

  constructor(box: HTMLElement, tell: (text: string) => void) {
    this.#box = box;
    const told = (event: Event) => {
      const row = event.target instanceof Element ? event.target.closest('.row') : null;
      if (row !== null) tell(row.getAttribute('aria-label') ?? '');
    };
    box.addEventListener('pointerover', told);
    box.addEventListener('focusin', told);
    box.addEventListener('keydown', (event) => this.#key(event));
  }

  /** Shows a space. */
  show(space: DrawnSpace, options: DrawOptions): void {
    const held = this.#rows().findIndex((row) => row.matches(':focus'));
    const drawn = drawSpace(space, options);
    const svg = mount(element('svg', { ...drawn.attributes, role: 'list' }, drawn.children));
    this.#box.replaceChildren(svg);
    for (const [at, row] of this.#rows().entries()) {
      row.setAttribute('role', 'listitem');
      row.setAttribute('tabindex', at === 0 ? '0' : '-1');
      // A tool tip would tell the same as what the page tells beside the picture.
      const title = row.querySelector('title');
      row.setAttribute('aria-label', title?.textContent ?? '');
      title?.remove();
    }
    if (held >= 0) this.#focus(held);
  }

  #rows(): SVGElement[] {
    return [...this.#box.querySelectorAll<SVGElement>('.row')];
  }

  #focus(at: number): void {
    const rows = this.#rows();
    const row = rows[Math.max(0, Math.min(rows.length - 1, at))];
    for (const other of rows) other.setAttribute('tabindex', other === row ? '0' : '-1');
    row?.focus();
  }

  #key(event: KeyboardEvent): void {
    const rows = this.#rows();
    const here = rows.findIndex((row) => row.matches(':focus'));
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: here + 1,
      ArrowUp: here - 1,
      Home: 0,
      End: rows.length - 1,
    };
    const to = moves[event.key];
    if (to === undefined || here < 0) return;
    event.preventDefault();
    this.#focus(to);
  }
}

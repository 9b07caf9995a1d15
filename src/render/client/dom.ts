/**
 * Elements of the report's document.
 */
import type { Markup } from '../markup.js';

const SVG = 'http://www.w3.org/2000/svg';

/** The element with an id, which the document has. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the report has no ${id}`);
}

/** Makes an SVG element. Text can only become text. */
export function mount({ tag, attributes, children }: Markup): SVGElement {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && name !== 'xmlns') made.setAttribute(name, String(value));
  }
  for (const child of children) made.append(typeof child === 'string' ? child : mount(child));
  return made;
}

/** Makes an HTML element with text in it. */
export function tag(name: string, text: string, className = ''): HTMLElement {
  const made = document.createElement(name);
  made.textContent = text;
  if (className !== '') made.className = className;
  return made;
}

/**
 * SVG and HTML as data, so that what comes from outside can only ever be text: it is escaped by construction.
 */

/** An element. Attributes that are `undefined` are left out. */
export interface Markup {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
  readonly children: readonly (Markup | string)[];
}

/** Makes an element. */
export function element(
  tag: string,
  attributes: Markup['attributes'] = {},
  ...children: readonly (Markup | string)[]
): Markup {
  return { tag, attributes, children };
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** HTML's elements that have no end. */
const VOID = new Set(['meta', 'input', 'br']);

/** The text of an element, for HTML and for XML; it is well-formed as either. */
export function markupText({ tag, attributes, children }: Markup): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}="${escaped(String(value))}"`)
    .join('');
  if (VOID.has(tag)) return `<${tag}${written}/>`;
  const inner = children.map((child) => (typeof child === 'string' ? escaped(child) : markupText(child)));
  return `<${tag}${written}>${inner.join('')}</${tag}>`;
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/**
 * SVG and HTML as data, so that what comes from outside can only ever be text: it is escaped by construction.
 */

/** An element. Attributes that are `undefined` are left out. */
export interface Markup {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
  readonly children: readonly (Markup | string)[];
}

/** What an element is given as its children: each alone, or many in a list. */
type Children = Markup | string | readonly (Markup | string)[];

/** Makes an element. */
export function element(
  tag: string,
  attributes: Markup['attributes'] = {},
  ...children: readonly Children[]
): Markup {
  return { tag, attributes, children: children.flat() };
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
export function markupText(markup: Markup): string {
  return [...markupPieces(markup)].join('');
}

/** The same in pieces: one for each child, as there may be very many. */
export function* markupPieces({ tag, attributes, children }: Markup): Generator<string, void, undefined> {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}="${escaped(String(value))}"`)
    .join('');
  if (VOID.has(tag)) {
    yield `<${tag}${written}/>`;
    return;
  }
  yield `<${tag}${written}>`;
  for (const child of children) yield typeof child === 'string' ? escaped(child) : markupText(child);
  yield `</${tag}>`;
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

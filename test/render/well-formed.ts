/**
 * Reads what was drawn, strictly: whatever is not a plain element or plain text is an error.
 */

/** An element that was read. */
export interface ReadElement {
  readonly tag: string;
  readonly attributes: ReadonlyMap<string, string>;
  /** The text directly in it. */
  text: string;
  readonly parent: ReadElement | undefined;
}

const TOKEN = /<(\/?)([a-z][\w-]*)((?: [\w:-]+="[^"<]*")*)(\/?)>|([^<]+)/gy;
const TEXTS: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

/** All elements of an XML text without declarations, comments and the like; throws if it is not well-formed. */
export function readElements(source: string): ReadElement[] {
  const elements: ReadElement[] = [];
  let open: ReadElement | undefined;
  let at = 0;
  for (const token of source.matchAll(TOKEN)) {
    at += token[0].length;
    const [, closes, tag, attributes, alone, text] = token;
    if (text !== undefined) {
      if (open === undefined) throw new Error(`text outside of the document: ${text}`);
      open.text += plain(text);
    } else if (closes === '/') {
      if (open?.tag !== tag) throw new Error(`</${tag}> in ${open?.tag}`);
      open = open?.parent;
    } else {
      const pairs = [...attributes!.matchAll(/ ([\w:-]+)="([^"]*)"/g)];
      const read = new Map(pairs.map((pair) => [pair[1]!, plain(pair[2]!)]));
      const made: ReadElement = { tag: tag!, attributes: read, text: '', parent: open };
      elements.push(made);
      if (alone === '') open = made;
    }
  }
  if (at !== source.length || open !== undefined)
    throw new Error(`not well-formed at ${source.slice(at, at + 60)}`);
  return elements;
}

function plain(text: string): string {
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(text.replaceAll('\n', '')))
    throw new Error('a control or formatting character');
  return text.replaceAll(/&([^;]*;?)/g, (_, name: string) => {
    const known = TEXTS[name.slice(0, -1)];
    if (known === undefined) throw new Error(`not a reference: &${name}`);
    return known;
  });
}

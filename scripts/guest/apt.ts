/** Where this machine gets its Debian packages from, by its own apt configuration. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One place that apt looks in. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** The keyring that its signature is checked with, if the source names a file. */
  readonly keyring?: string;
}

/** Suites that only Debian's own archive has, so a mirror that has one of them has the others. */
const DEBIAN_SUITES = new Set(
  'oldstable stable testing unstable sid buster bullseye bookworm trixie forky duke'.split(' '),
);

/** The sources in a file of the one-line form: `deb [signed-by=FILE] URI SUITE COMPONENT…`. */
export function readOneLineSources(text: string): AptSource[] {
  const found: AptSource[] = [];
  for (const line of text.split('\n')) {
    const [, options = '', uri, suite, components] =
      /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)/.exec(line) ?? [];
    if (uri === undefined || suite === undefined) continue;
    const keyring = /(?:^|\s)signed-by=(\/[^\s,]+)/i.exec(options)?.[1];
    found.push({
      uri,
      suite,
      components: words(components),
      ...(keyring === undefined ? {} : { keyring }),
    });
  }
  return found;
}

/** The sources in a file of the deb822 form: stanzas of `Field: value`, with continued lines and comments. */
export function readStanzaSources(text: string): AptSource[] {
  const withoutComments = text.replaceAll(/^#.*\n?/gm, '');
  return withoutComments.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = new Map(
      [...stanza.matchAll(/^([\w-]+):((?:.*)(?:\n[ \t].*)*)/gm)].map(([, name, value]) => [
        name!.toLowerCase(),
        value!.trim(),
      ]),
    );
    const list = (name: string) => words(fields.get(name));
    if (!list('types').includes('deb') || /^(no|false|off|0)$/i.test(fields.get('enabled') ?? 'yes'))
      return [];
    const signedBy = fields.get('signed-by');
    const keyring = signedBy?.startsWith('/') ? { keyring: words(signedBy)[0]! } : {};
    return list('uris').flatMap((uri) =>
      list('suites').map((suite) => ({ uri, suite, components: list('components'), ...keyring })),
    );
  });
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}

/** All sources of apt on this machine. */
export function machineSources(folder = '/etc/apt'): AptSource[] {
  const parts = join(folder, 'sources.list.d');
  const files = [
    join(folder, 'sources.list'),
    ...(existsSync(parts) ? readdirSync(parts).sort() : []).map((name) => join(parts, name)),
  ].filter((file) => existsSync(file));
  return files.flatMap((file) => {
    if (file.endsWith('.list')) return readOneLineSources(readFileSync(file, 'utf8'));
    if (file.endsWith('.sources')) return readStanzaSources(readFileSync(file, 'utf8'));
    return [];
  });
}

/**
 * The source of a full Debian archive. A list of mirrors (`mirror+file:`) stands for the first that it names.
 *
 * @throws Error if there is none
 */
export function debianMirror(sources: readonly AptSource[]): AptSource {
  const mirror = sources.find(
    ({ suite, components }) => DEBIAN_SUITES.has(suite) && components.includes('main'),
  );
  if (mirror === undefined) {
    throw new Error('the apt configuration of this machine names no mirror of Debian (a suite with "main")');
  }
  const [, list] = /^mirror\+file:(?:\/\/)?(\/.*)/.exec(mirror.uri) ?? [];
  if (list === undefined) return mirror;
  const [first] = readFileSync(list, 'utf8').matchAll(/^(?!#)\S+/gm);
  if (first === undefined) throw new Error(`${list}, which the apt configuration names, lists no mirror`);
  return { ...mirror, uri: first[0] };
}

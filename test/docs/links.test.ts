/** Links between documents lead somewhere, and the list of npm scripts is complete. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const documents = ['.', 'docs']
  .flatMap((folder) => readdirSync(new URL(folder, root)).map((file) => posix.join(folder, file)))
  .filter((path) => path.endsWith('.md'));

/** The anchors that a Markdown viewer gives the headings of a document. */
function anchorsOf(text: string): string[] {
  const headings = text.replaceAll(/^```.*?^```/gms, '').matchAll(/^#+ (.*)$/gm);
  return [...headings].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe.each(documents)('%s', (document) => {
  const text = read(document).replaceAll(/^```.*?^```/gms, '');
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);

  test('links to what is there', () => {
    const broken = links.filter((link) => {
      if (/^[a-z]+:/.test(link)) return false;
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? document : posix.join(posix.dirname(document), path);
      if (!existsSync(new URL(target, root))) return true;
      return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
    });
    expect(broken).toEqual([]);
  });
});

test('CONTRIBUTING.md lists all npm scripts', () => {
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(read('package.json'));
  const rows = [...read('CONTRIBUTING.md').matchAll(/^\| `npm (?:run )?([\w:-]+)/gm)].map(
    ([, name]) => name!,
  );
  // What npm itself runs before it packs.
  const called = Object.keys(scripts).filter((name) => name !== 'prepack');
  expect(rows.sort()).toEqual(called.sort());
});

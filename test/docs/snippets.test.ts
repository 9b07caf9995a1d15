import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = fileURLToPath(new URL('../.snippets/', import.meta.url));

interface Snippet {
  readonly name: string;
  readonly file: string;
}

function extract(document: string): Snippet[] {
  const text = readFileSync(`${root}${document}`, 'utf8');
  const blocks = [...text.matchAll(/^```ts\n(.*?)^```$/gms)];
  return blocks.map((block, at) => {
    const line = text.slice(0, block.index).split('\n').length;
    const file = `${folder}${document.replaceAll(/[^a-z]/gi, '-')}-${at}.ts`;
    writeFileSync(file, block[1]!);
    return { name: `${document}:${line}`, file };
  });
}

/** The documents of a folder; examples are looked for in what Git would clone. */
function documentsIn(name: string): string[] {
  return existsSync(`${root}${name}`) ? readdirSync(`${root}${name}`).map((file) => `${name}/${file}`) : [];
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const documents = ['README.md', 'DESIGN.md', ...documentsIn('docs')];
const snippets = documents.filter((name) => name.endsWith('.md')).flatMap(extract);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('examples in the documentation', () => {
  test('are there', () => {
    expect(snippets.length).toBeGreaterThanOrEqual(3);
  });

  test('compile', () => {
    const config = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
    const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
    const files = snippets.map(({ file }) => file);
    const program = ts.createProgram(files, options);
    const errors = ts.getPreEmitDiagnostics(program).map((diagnostic) => {
      const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n');
      return `${diagnostic.file?.fileName}:${diagnostic.start}: ${message}`;
    });
    expect(errors).toEqual([]);
  });

  test.each(snippets)('$name runs', async ({ file }) => {
    await import(file);
  });
});

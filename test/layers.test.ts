/** The list of layers in DESIGN.md holds: no import goes up, and no module needs itself, not even for a type. */
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

interface Import {
  readonly from: string;
  readonly to: string;
}

const root = new URL('../', import.meta.url);
const source = new URL('src/', root);
const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'));

/** The rows of the table in the design, from the ground up; each is a list of folders (`table/`) and files. */
function floors(): string[][] {
  const design = readFileSync(new URL('DESIGN.md', root), 'utf8');
  const [, table = ''] = /^\| floor \|.*\n\| ---.*\n((?:\|.*\n)+)/m.exec(design) ?? [];
  const cells = table
    .trimEnd()
    .split('\n')
    .map((row) => row.split('|')[2] ?? '');
  return cells.map((cell) => [...cell.matchAll(/`(.*?)`/g)].map(([, name]) => name!)).reverse();
}

function importsOf(file: string): Import[] {
  return importsIn(file, readFileSync(new URL(file, source), 'utf8'));
}

function importsIn(file: string, text: string): Import[] {
  const parsed = ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith('.')) return;
    const to = posix.join(posix.dirname(file), specifier.text).replace(/\.js$/, '.ts');
    found.push({ from: file, to });
  };
  const visit = (node: ts.Node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier);
    } else if (ts.isImportTypeNode(node)) {
      add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(parsed);
  return found;
}

/** The first circle that is found, as a list of files that ends where it begins. */
function circleIn(imports: readonly Import[]): string[] | undefined {
  const next = new Map<string, Import[]>();
  for (const one of imports) next.set(one.from, [...(next.get(one.from) ?? []), one]);
  const done = new Set<string>();
  const path: string[] = [];
  const walk = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const { to } of next.get(file) ?? []) {
      const circle = walk(to);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const file of next.keys()) {
    const circle = walk(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

const heights = new Map(floors().flatMap((names, height) => names.map((name) => [name, height] as const)));
const placeOf = (file: string) => (file.includes('/') ? `${file.split('/')[0]}/` : file);
const imports = files.flatMap(importsOf);

describe('the layers', () => {
  test('hold every file, and nothing else', () => {
    expect([...new Set(files.map(placeOf))].sort()).toEqual([...heights.keys()].sort());
  });

  test('are not climbed by an import', () => {
    const height = (file: string) => heights.get(placeOf(file)) ?? Number.POSITIVE_INFINITY;
    const up = imports.filter(({ from, to }) => height(to) > height(from));
    expect(up.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test('import files that are there', () => {
    const known = new Set(files);
    expect(imports.length).toBeGreaterThan(files.length);
    expect(imports.filter(({ to }) => !known.has(to))).toEqual([]);
  });
});

describe('circles', () => {
  test('are found where there is one', () => {
    const circle = ['a', 'b', 'c'].map((from, at, all) => ({ from, to: all[(at + 1) % 3]! }));
    expect(circleIn(circle)).toEqual(['a', 'b', 'c', 'a']);
    expect(circleIn(circle.slice(1))).toBeUndefined();
  });

  test('are found where they are made of types', () => {
    const made = importsIn(
      'a.ts',
      `import type { B } from './b.js'; let c: import('./c.js').C; export { type D } from './d.js';`,
    );
    expect(made.map(({ to }) => to)).toEqual(['b.ts', 'c.ts', 'd.ts']);
  });

  test('there are none between modules', () => {
    expect(circleIn(imports)).toBeUndefined();
  });

  test('there are none between folders', () => {
    const between = imports.map(({ from, to }) => ({ from: placeOf(from), to: placeOf(to) }));
    expect(circleIn(between.filter(({ from, to }) => from !== to))).toBeUndefined();
  });
});

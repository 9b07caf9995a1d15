/** The errno guide has every errno of every call: what `@throws` says of the public methods is in its tables. */
import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { ERRNO } from '../../src/errors.js';

const root = new URL('../../', import.meta.url);
const guide = readFileSync(new URL('docs/errnos.md', root), 'utf8');

/** Classes, and their files. */
const CLASSES: readonly (readonly [string, string])[] = [
  ['IoPagetable', 'io-pagetable.ts'],
  ['IoptAccess', 'access/iopt-access.ts'],
  ['Iommufd', 'iommufd/iommufd.ts'],
  ['IommufdAccess', 'iommufd/access-object.ts'],
  ['BoundDevice', 'iommufd/bound-device.ts'],
  ['RadixDomain', 'domain/radix-domain.ts'],
  ['RadixReader', 'domain/radix-reader.ts'],
  ['ProcessMemory', 'memory/process-memory.ts'],
];

/** Calls that have a table of their own, by the beginning of its heading. */
const TABLES: Readonly<Record<string, RegExp>> = {
  'map (': /^(IoPagetable\.map|Iommufd\.(ioasMap|vfioMap))$/,
  'copy (': /^(IoPagetable\.copy|Iommufd\.ioasCopy)$/,
  'unmap (': /^(IoPagetable\.unmap(All)?|Iommufd\.(ioasUnmap|vfioUnmap))$/,
  'access:': /^(IoptAccess\..*|IommufdAccess\..*|IoPagetable\.access)$/,
  'addDomain (': /^(IoPagetable\.addDomain|Iommufd\.hwptAlloc|BoundDevice\.(attach|replace))$/,
};

interface Thrown {
  readonly call: string;
  readonly code: string;
}

/** What the doc comments of a class's methods say that they throw. */
function thrownBy(name: string, file: string): Thrown[] {
  const text = readFileSync(new URL(`src/${file}`, root), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const declared = source.statements.filter(ts.isClassDeclaration).find((each) => each.name?.text === name);
  return (declared?.members ?? []).flatMap((member) => {
    const tags = ts.getJSDocTags(member).filter(({ tagName }) => tagName.text === 'throws');
    const comment = tags.map((tag) => ts.getTextOfJSDocComment(tag.comment)).join(' ');
    const codes = Object.keys(ERRNO).filter((code) => new RegExp(`\\b${code}\\b`).test(comment));
    const method = ts.isConstructorDeclaration(member) ? 'new' : (member.name?.getText() ?? '');
    return codes.map((code) => ({ call: `${name}.${method}`, code }));
  });
}

function section(heading: string): string {
  const [, text] = guide.split(`\n## ${heading}`);
  return text?.split('\n## ')[0] ?? '';
}

/** The rows that are about a call. */
function rowsFor({ call, code }: Thrown): string {
  const [type, method] = call.split('.') as [string, string];
  if (method.endsWith('Sync') && code === 'EAGAIN') return section('Everything else');
  const plain = method.replace(/Sync$/, '');
  const table = Object.entries(TABLES).find(([, calls]) => calls.test(`${type}.${plain}`));
  if (table !== undefined) return section(table[0]);
  const rows = [...section('Everything else').split('\n'), ...section('The two ends').split('\n')];
  const named = method === 'new' ? `new ${type}` : plain;
  const about = new RegExp(`\\b${named}\\b`);
  return rows
    .filter(
      (row) => about.test(row.split('|')[1] ?? '') || (type === 'Iommufd' && row.includes('with an id')),
    )
    .join('\n');
}

describe.each(CLASSES)('%s', (name, file) => {
  const thrown = thrownBy(name, file);

  test('has errnos', () => {
    expect(thrown.length).toBeGreaterThan(0);
  });

  test('has all of them in the guide', () => {
    const missing = thrown.filter((each) => !new RegExp(`\\b${each.code}\\b`).test(rowsFor(each)));
    expect(missing.map(({ call, code }) => `${call}: ${code}`)).toEqual([]);
  });
});

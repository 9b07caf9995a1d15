import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const config = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
const folders = ['', 'testing/', 'replay/', 'render/', 'uapi/', 'vfio-user/'];
const entries = folders.map((folder) => `${root}src/${folder}index.ts`);
const program = ts.createProgram(entries, options);
const checker = program.getTypeChecker();

function documented(symbol: ts.Symbol): boolean {
  return symbol.getDocumentationComment(checker).length > 0;
}

function isHidden(symbol: ts.Symbol): boolean {
  const tags = symbol.getJsDocTags(checker);
  const declaration = symbol.valueDeclaration ?? symbol.declarations?.[0];
  const modifiers = declaration ? ts.getCombinedModifierFlags(declaration) : 0;
  return tags.some((tag) => tag.name === 'internal') || (modifiers & ts.ModifierFlags.Private) !== 0;
}

/** Methods and accessors of a class or interface that lack a comment; what it inherits or implements may have it. */
function undocumentedMembers(symbol: ts.Symbol): string[] {
  const bare: string[] = [];
  for (const [name, member] of symbol.members ?? []) {
    const kind = member.flags & (ts.SymbolFlags.Method | ts.SymbolFlags.Accessor);
    if (kind === 0 || String(name).startsWith('__') || isHidden(member) || documented(member)) continue;
    if (String(name).startsWith('#') || member.valueDeclaration?.getText().startsWith('*#')) continue;
    if (ts.isClassElement(member.valueDeclaration!) && ts.isPrivateIdentifier(member.valueDeclaration.name!))
      continue;
    bare.push(`${symbol.name}.${String(name)}`);
  }
  return bare;
}

describe.each(entries)('every symbol exported by %s', (entry) => {
  const module = checker.getSymbolAtLocation(program.getSourceFile(entry)!)!;
  const exported = checker
    .getExportsOfModule(module)
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));

  test('has a doc comment', () => {
    expect(exported.filter((symbol) => !documented(symbol)).map((symbol) => symbol.name)).toEqual([]);
  });

  test('has doc comments on its methods', () => {
    expect(exported.flatMap(undocumentedMembers)).toEqual([]);
  });
});

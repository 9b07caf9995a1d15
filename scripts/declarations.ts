/**
 * The public declarations of the package, without the comments: what each entry point exports, and in one file what
 * all that is, with everything it is made of. `api/` holds them as they were last reviewed.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rollup } from 'rollup';
import { dts } from 'rollup-plugin-dts';
import ts from 'typescript';

const root = fileURLToPath(new URL('../', import.meta.url));

/** The entry points of the package: name, and the path of their declarations in `dist`. */
export function entryPoints(): ReadonlyMap<string, string> {
  const { exports }: { exports: Record<string, string | { readonly types: string }> } = JSON.parse(
    readFileSync(`${root}package.json`, 'utf8'),
  );
  const names = new Map<string, string>();
  for (const [path, target] of Object.entries(exports)) {
    if (typeof target === 'string') continue;
    const name = path === '.' ? 'index' : path.slice('./'.length);
    names.set(name, target.types.replace('./dist/', ''));
  }
  return names;
}

/** Emits the declarations of the sources into `folder`. */
function emit(folder: string): void {
  const config = ts.readConfigFile(`${root}tsconfig.build.json`, ts.sys.readFile);
  const { options, fileNames } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const program = ts.createProgram(fileNames, { ...options, outDir: folder, emitDeclarationOnly: true });
  const { diagnostics } = program.emit();
  if (diagnostics.length > 0) throw new Error(ts.formatDiagnostics(diagnostics, formatHost));
}

const formatHost: ts.FormatDiagnosticsHost = {
  getCurrentDirectory: () => root,
  getCanonicalFileName: (name) => name,
  getNewLine: () => '\n',
};

function withoutComments(text: string): string {
  const source = ts.createSourceFile('api.d.ts', text, ts.ScriptTarget.Latest);
  return ts.createPrinter({ removeComments: true }).printFile(source);
}

/** What an entry point exports, one name a line. */
function exportsOnly(text: string): string {
  return text.replaceAll(/\{ (.*) \}/g, (_, names: string) => `{\n  ${names.split(', ').join(',\n  ')},\n}`);
}

/** Without the export lists at the end: the entry points have them. */
function declarationsOnly(text: string): string {
  return text.replaceAll(/^export (type )?\{.*\};\n/gm, '');
}

/** The declarations as the sources have them now. */
export async function declarations(): Promise<ReadonlyMap<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), 'io-pagetable-api-'));
  try {
    emit(folder);
    const input = Object.fromEntries([...entryPoints()].map(([name, path]) => [name, join(folder, path)]));
    const entries = new Set(Object.values(input));
    const bundle = await rollup({ input, plugins: [dts()], external: /^node:/ });
    const { output } = await bundle.generate({
      format: 'es',
      entryFileNames: '[name].d.ts',
      chunkFileNames: '[name].d.ts',
      minifyInternalExports: false,
      manualChunks: (id) => (entries.has(id) ? null : 'declarations'),
    });
    await bundle.close();
    const texts = new Map<string, string>();
    for (const chunk of output) {
      if (chunk.type !== 'chunk') continue;
      const text = withoutComments(chunk.code);
      texts.set(chunk.fileName, chunk.isEntry ? exportsOnly(text) : declarationsOnly(text));
    }
    return texts;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The declarations that were last reviewed. */
export function reviewedDeclarations(): ReadonlyMap<string, string> {
  const files = readdirSync(`${root}api`).sort();
  return new Map(files.map((name) => [name, readFileSync(`${root}api/${name}`, 'utf8')]));
}

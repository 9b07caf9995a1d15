/** What a bundler makes a browser load for a program: at once, and later. */
import { type BuildOptions, build, type Metafile } from 'esbuild';

/** A bundle in chunks. */
export interface Loading {
  /** What the program needs before it runs. */
  readonly first: { readonly bytes: number; readonly sources: readonly string[] };
  /** Sources that come with what it loads when it asks for it. */
  readonly later: readonly string[];
}

/** Bundles a program as for production, in chunks. A Node-only import makes it fail, as browsers have none. */
export async function loadingOf(
  program: string,
  options: Pick<BuildOptions, 'absWorkingDir' | 'alias'> & { readonly absWorkingDir: string },
): Promise<Loading> {
  const { metafile } = await build({
    ...options,
    stdin: { contents: program, resolveDir: options.absWorkingDir, loader: 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'browser',
    minify: true,
    splitting: true,
    outdir: 'bundled',
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const names = Object.keys(metafile.outputs);
  const first = neededBy(
    metafile,
    names.find((name) => metafile.outputs[name]?.entryPoint === '<stdin>') ?? '',
  );
  return {
    first: {
      bytes: [...first].reduce((bytes, name) => bytes + (metafile.outputs[name]?.bytes ?? 0), 0),
      sources: sourcesOf(metafile, [...first]),
    },
    later: sourcesOf(
      metafile,
      names.filter((name) => !first.has(name)),
    ),
  };
}

/** A chunk with all that it imports, but for what it loads later. */
function neededBy(metafile: Metafile, chunk: string, found = new Set<string>()): ReadonlySet<string> {
  if (found.has(chunk)) return found;
  found.add(chunk);
  for (const { kind, path } of metafile.outputs[chunk]?.imports ?? []) {
    if (kind === 'import-statement') neededBy(metafile, path, found);
  }
  return found;
}

function sourcesOf(metafile: Metafile, chunks: readonly string[]): string[] {
  const inputs = chunks.flatMap((name) => Object.entries(metafile.outputs[name]?.inputs ?? {}));
  return inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path);
}

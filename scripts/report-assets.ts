/**
 * Makes the program and the style sheet that stand in HTML reports, out of src/render/client.
 *
 *     npm run build:report
 */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { PICTURE_STYLE } from '../src/render/svg-style.js';

const path = (name: string) => fileURLToPath(new URL(`../src/render/${name}`, import.meta.url));

/** Where the assets are kept. */
export const ASSETS = path('html-assets.ts');

/** The text of the module that holds them. */
export async function reportAssets(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [path('client/report.ts')],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2023',
    charset: 'ascii',
    legalComments: 'none',
    absWorkingDir: path('client'),
  });
  const script = outputFiles[0]!.text;
  const style = PICTURE_STYLE + (await readFile(path('client/report.css'), 'utf8'));
  return `/**
 * Made of src/render/client by scripts/report-assets.ts (npm run build:report); not to be edited.
 */

/** The program of a report. */
export const REPORT_SCRIPT = ${quoted(script)};

/** The style sheet of a report. */
export const REPORT_STYLE = ${quoted(style)};

/** What a content security policy calls them. */
export const REPORT_HASHES = {
  script: '${hashOf(script)}',
  style: '${hashOf(style)}',
} as const;
`;
}

function quoted(text: string): string {
  return `\`${text.replaceAll(/[\\`]|\$\{/g, (special) => `\\${special}`)}\``;
}

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

if (argv[1] === fileURLToPath(import.meta.url)) await writeFile(ASSETS, await reportAssets());

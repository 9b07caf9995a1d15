/** Every `console` block of the documentation: its commands print what it says. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../cli/fake-terminal.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const PROMPT = /^\$ npx iopt /m;

interface Command {
  readonly document: string;
  readonly words: readonly string[];
  readonly output: string;
}

function commandsIn(document: string): Command[] {
  const text = readFileSync(`${root}${document}`, 'utf8');
  const blocks = [...text.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block]) => block!);
  return blocks.flatMap((block) => {
    const [before, ...commands] = block.split(PROMPT);
    expect(before).toBe('');
    return commands.map((command) => {
      const [line, ...output] = command.split('\n');
      return { document, words: line!.split(' '), output: output.join('\n') };
    });
  });
}

const documents = ['README.md', ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)];
const commands = documents.filter((name) => name.endsWith('.md')).flatMap(commandsIn);

describe('commands in the documentation', () => {
  const before = process.cwd();
  beforeAll(() => process.chdir(root));
  afterAll(() => process.chdir(before));

  test('are there', () => {
    expect(commands.length).toBeGreaterThanOrEqual(5);
  });

  test.each(commands)('$document: $words', async ({ words, output }) => {
    const { out, err } = await run(words);
    expect([out, err]).toEqual([output, '']);
  });
});

/** A terminal in memory, for commands that run in the test's own process. */
import { main } from '../../src/cli/main.js';
import type { HtmlReport } from '../../src/cli/replay-command.js';
import type { Terminal } from '../../src/cli/terminal.js';

/** What a command printed, and how it ended. */
export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** What a command is run with. */
export interface RunOptions {
  /** Standard input; absent: a terminal at which nobody types. */
  readonly input?: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | string;
  /** Columns of the terminal behind standard error; absent: there is none. */
  readonly columns?: number;
  readonly html?: HtmlReport;
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* chunksOf(input: NonNullable<RunOptions['input']>): AsyncGenerator<Uint8Array> {
  if (typeof input === 'string') yield new TextEncoder().encode(input);
  else yield* input;
}

/** Runs a command line. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { input, columns, html } = options;
  let out = '';
  let err = '';
  const terminal: Terminal = {
    input: input === undefined ? nothing() : chunksOf(input),
    inputIsTerminal: input === undefined,
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    errColumns: columns,
  };
  const status = await main(args, terminal, { html });
  return { status, out, err };
}

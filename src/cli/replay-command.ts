/**
 * `iopt replay`: logs on the model, and where the two differ.
 */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { printable } from '../render/index.js';
import { LogError, type MalformedLine, type ReplayRecording } from '../replay/index.js';
import { openLog } from './log-input.js';
import { LOG_OPTIONS, readCount, readLogOptions } from './option-values.js';
import { ProgressBar } from './progress.js';
import {
  briefText,
  divergenceText,
  type JsonReport,
  jsonText,
  malformedText,
  summaryText,
  totalText,
} from './replay-output.js';
import {
  type ExplainedDivergence,
  type ReplayResult,
  type ReplayRunOptions,
  runReplay,
} from './replay-run.js';
import { complain, EXIT, type Terminal, UsageError } from './terminal.js';

/** Writes a recording as one self-contained HTML document, piece by piece. */
export type HtmlReport = (recording: ReplayRecording) => Iterable<string>;

/** How the command prints. */
interface Printing {
  readonly terminal: Terminal;
  /** Whether people read it. */
  readonly text: boolean;
  /** Whether nobody wants to hear of anything but the exit status. */
  readonly quiet: boolean;
  /** Whether there is more than one log. */
  readonly several: boolean;
  /** The most divergences, and the most lines that cannot be read, that are shown. */
  readonly most: number;
}

const DEFAULT_SHOWN = '20';

/**
 * Runs the command and gives its exit status. A log that cannot be read doesn't keep it from the others.
 *
 * @throws UsageError if the arguments are wrong
 */
export async function replayCommand(
  args: readonly string[],
  terminal: Terminal,
  html: HtmlReport | undefined,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...LOG_OPTIONS,
      max: { type: 'string', default: DEFAULT_SHOWN },
      stop: { type: 'boolean', default: false },
      html: { type: 'string' },
      quiet: { type: 'boolean', default: false },
    },
  });
  if (positionals.length === 0 && terminal.inputIsTerminal) throw new UsageError('no log to replay');
  const logs = positionals.length === 0 ? ['-'] : positionals;
  const report = values.html === undefined ? undefined : reportTo(values.html, html);
  if (report !== undefined && logs.length > 1) throw new UsageError('--html takes one log');
  const most = readCount(values.max, '--max', 0);
  const options: ReplayRunOptions = {
    ...readLogOptions(values),
    stop: values.stop,
    explained: most,
    record: report !== undefined,
  };
  const { quiet } = values;
  const text = !values.json && !quiet;
  const printing: Printing = { terminal, most, quiet, text, several: logs.length > 1 };
  const reports: JsonReport[] = [];
  let readable = true;
  for (const log of logs) {
    try {
      const { recording, ...rest } = await replayOne(log, options, printing);
      reports.push(rest);
      if (recording !== undefined) await report?.(recording);
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof LogError)) throw error;
      complain(terminal, error.message);
      readable = false;
    }
  }
  if (values.json) await terminal.out(jsonText({ logs: reports }));
  if (printing.text && printing.several) await terminal.out(totalText(reports));
  if (!readable) return EXIT.BAD_USAGE;
  return reports.some(({ divergences }) => divergences > 0) ? EXIT.DIFFERS : EXIT.AGREES;
}

async function replayOne(
  log: string,
  options: ReplayRunOptions,
  { terminal, most, text, quiet, several }: Printing,
): Promise<JsonReport & Pick<ReplayResult, 'recording'>> {
  const input = await openLog(log, terminal);
  const bar = new ProgressBar(terminal, quiet ? undefined : input.bytes);
  const first: ExplainedDivergence[] = [];
  const unreadable: MalformedLine[] = [];
  const print = async (output: string) => {
    if (!text) return;
    bar.clear();
    await terminal.out(output);
  };
  const prefix = several ? `${printable(input.name)}: ` : '';
  try {
    const result = await runReplay(input, options, {
      bytes: (count) => bar.advance(count),
      divergence: async (divergence, profile) => {
        if (first.length === most) return;
        first.push(divergence);
        await print(prefix + divergenceText(divergence, profile));
      },
      malformed: async (line) => {
        if (unreadable.length === most) return;
        unreadable.push(line);
        await print(prefix + malformedText(line));
      },
    });
    const hidden = result.divergences - first.length;
    if (hidden > 0) await print(`${prefix}and ${hidden} more (--max shows more)\n`);
    await print(several ? briefText(input.name, result) : summaryText(result));
    return { log: input.name, ...result, first, unreadable };
  } finally {
    bar.clear();
  }
}

/** What writes a report to a file. @throws UsageError if there is nothing that could */
function reportTo(path: string, html: HtmlReport | undefined): (recording: ReplayRecording) => Promise<void> {
  if (html === undefined) throw new UsageError('this iopt was built without the HTML report');
  return async (recording) => {
    try {
      await pipeline(Readable.from(html(recording)), createWriteStream(path));
    } catch (error) {
      throw new UsageError(`cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
}

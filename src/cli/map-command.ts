/**
 * `iopt map`: the IOVA spaces as a log leaves them, drawn as text.
 */
import { parseArgs } from 'node:util';
import { printable, renderText } from '../render/index.js';
import { LOG_OPTIONS, readCount, readLogOptions } from './option-values.js';
import { jsonText } from './replay-output.js';
import { spaceNamed, stoppedAfter } from './space-after.js';
import { EXIT, type Terminal, UsageError } from './terminal.js';

/** Runs the command and gives its exit status. @throws UsageError */
export async function mapCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...LOG_OPTIONS,
      space: { type: 'string' },
      rows: { type: 'string' },
    },
  });
  if (positionals.length > 1) throw new UsageError('iopt map takes one log');
  if (positionals.length === 0 && terminal.inputIsTerminal) throw new UsageError('no log to draw');
  const rows = values.rows === undefined ? {} : { rows: readCount(values.rows, '--rows', 3) };
  const part = { log: positionals[0] ?? '-', ...readLogOptions(values) };
  const { spaces } = await stoppedAfter(part, terminal);
  const drawn = values.space === undefined ? spaces : [spaceNamed(values.space, spaces)];
  if (values.json) {
    const all = drawn.map(({ name, table }) => ({ name, snapshot: table.snapshot() }));
    await terminal.out(jsonText({ spaces: all }));
    return EXIT.AGREES;
  }
  if (drawn.length === 0) throw new UsageError(`${part.log} leaves no IOVA space`);
  for (const { name, table } of drawn) {
    await terminal.out(`${printable(name)}\n\n${renderText(table.snapshot(), rows)}\n\n`);
  }
  return EXIT.AGREES;
}

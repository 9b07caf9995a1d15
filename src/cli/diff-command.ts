/**
 * `iopt diff`: what of a log two kernels answer differently.
 */
import { parseArgs } from 'node:util';
import { count } from '../render/format.js';
import { printable } from '../render/index.js';
import { type AnswerDifference, diffProfiles, type ProfileAnswer } from '../replay/diff-profiles.js';
import type { ReplayFigures } from '../replay/figures.js';
import type { MalformedLine } from '../replay/index.js';
import { PROFILE_NAMES, type Profile, type Rules, rulesOf } from '../rules.js';
import { openLog } from './log-input.js';
import { LOG_OPTIONS, profileNamed, readCount, readLogOptions } from './option-values.js';
import { ProgressBar } from './progress.js';
import { jsonText, malformedText } from './replay-output.js';
import { EXIT, type Terminal, UsageError } from './terminal.js';

const DEFAULT_SHOWN = '20';
/** What a difference is counted under that no rule makes alone. */
const SEVERAL = 'several together';

/**
 * Runs the command and gives its exit status.
 *
 * @throws UsageError if the arguments are wrong, or the log cannot be read
 */
export async function diffCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const { profile: _, ...logOptions } = LOG_OPTIONS;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...logOptions,
      from: { type: 'string' },
      to: { type: 'string', default: PROFILE_NAMES[0]! },
      max: { type: 'string', default: DEFAULT_SHOWN },
      quiet: { type: 'boolean', default: false },
    },
  });
  const [log = '-', ...more] = positionals;
  if (more.length > 0) throw new UsageError('diff takes one log');
  if (positionals.length === 0 && terminal.inputIsTerminal) throw new UsageError('no log to compare on');
  if (values.from === undefined) throw new UsageError('diff needs --from PROFILE');
  const from = profileNamed(values.from, '--from');
  const to = profileNamed(values.to, '--to');
  if (from === to) throw new UsageError(`--from and --to are both ${from}`);
  const most = readCount(values.max, '--max', 0);
  const { until, lockedLimit } = readLogOptions(values);
  const text = !values.json && !values.quiet;

  const input = await openLog(log, terminal);
  const bar = new ProgressBar(terminal, values.quiet ? undefined : input.bytes);
  const print = async (output: string) => {
    if (!text) return;
    bar.clear();
    await terminal.out(output);
  };
  const first: AnswerDifference[] = [];
  const unreadable: MalformedLine[] = [];
  const rules = new Map<string, number>();
  let differences = 0;
  try {
    const lines = input.lines((bytes) => bar.advance(bytes));
    const options = {
      from,
      to,
      until,
      lockedLimit,
      onMalformed: (line: MalformedLine) => unreadable.push(line),
    };
    const found = diffProfiles({ name: input.name, lines }, options);
    let next = await found.next();
    for (; next.done !== true; next = await found.next()) {
      const difference = next.value;
      differences += 1;
      const blamed = difference.rules.length === 0 ? [SEVERAL] : difference.rules;
      for (const rule of blamed) rules.set(rule, (rules.get(rule) ?? 0) + 1);
      if (first.length === most) continue;
      first.push(difference);
      await print(differenceText(difference, from, to));
    }
    const figures = next.value;
    refuseUnknown(input.name, figures);
    const hidden = differences - first.length;
    if (hidden > 0) await print(`and ${hidden} more (--max shows more)\n`);
    for (const line of unreadable.slice(0, most)) await print(malformedText(line));
    await print(summaryText({ from, to, operations: figures.requests, differences, rules }));
    if (values.json) {
      const byRule = Object.fromEntries(rules);
      const report = { log: input.name, from, to, operations: figures.requests, differences, byRule };
      await terminal.out(jsonText({ ...report, first, unreadable: unreadable.slice(0, most) }));
    }
  } finally {
    bar.clear();
  }
  return differences > 0 ? EXIT.DIFFERS : EXIT.AGREES;
}

/** @throws UsageError if a log has nothing in it that is known */
function refuseUnknown(name: string, figures: ReplayFigures): void {
  const { requests, translations, misses, malformed, notReplayed } = figures;
  if (requests + translations + misses + malformed + notReplayed > 0) return;
  throw new UsageError(`nothing in ${name} is in a format that is known`);
}

function differenceText(
  { line, operation, from, to, rules }: AnswerDifference,
  a: Profile,
  b: Profile,
): string {
  const blamed = rules.length === 0 ? `rules: ${SEVERAL}` : `rule: ${rules.join(', ')}`;
  const details = [answerText(a, from), answerText(b, to), blamed].map((text) => `    ${text}`);
  return [`line ${line}: ${operation}`, ...details].map((text) => `${printable(text)}\n`).join('');
}

function answerText(profile: Profile, answer: ProfileAnswer | undefined): string {
  if (answer === undefined) return `${profile}: not asked`;
  const because = answer.because === undefined ? '' : ` because ${answer.because}`;
  return `${profile}: ${answer.answer}${because}`;
}

function summaryText(of: {
  readonly from: Profile;
  readonly to: Profile;
  readonly operations: number;
  readonly differences: number;
  readonly rules: ReadonlyMap<string, number>;
}): string {
  const { from, to, operations, differences, rules } = of;
  const head = `${from} and ${to}: ${count(operations, 'operation')}, ${count(differences, 'difference')}\n`;
  const rows = [...rules].sort(([, one], [, other]) => other - one);
  const width = Math.max(0, ...rows.map(([rule]) => rule.length));
  const digits = Math.max(0, ...rows.map(([, times]) => String(times).length));
  const [before, after] = [rulesOf(from), rulesOf(to)];
  const lines = rows.map(([rule, times]) => {
    const values =
      rule === SEVERAL ? '' : `  ${before[rule as keyof Rules]} to ${after[rule as keyof Rules]}`;
    return `  ${rule.padEnd(width)}  ${String(times).padStart(digits)}${values}\n`;
  });
  return head + lines.join('');
}

/**
 * The goals, and whether the figures meet them.
 */
import { growthOf } from './fit.js';
import { count, figureText, times } from './format.js';
import { median, OURS, type Results, ratio } from './results.js';
import { ROWS, type RowName, rowInfo } from './rows.js';

/** A goal against the figures. */
export interface Verdict {
  /** Number of the goal. */
  readonly goal: number;
  readonly what: string;
  readonly measured: string;
  readonly bound: string;
  /** `undefined`: this run did not measure it. */
  readonly met: boolean | undefined;
}

/** A goal that is looked up in the results. */
type Goal = (results: Results) => Verdict;

const NOT_MEASURED = '–';
const NUMBER = 'io-pagetable (number)';
const NUMBER_AMONG_BIGINTS = `${NUMBER} where bigints are used too`;
const SYNC = 'io-pagetable (sync)';
const PIN_SYNC = 'io-pagetable (pinSync + unpinSync)';
const PLAIN = '@flatten-js/interval-tree';
const NAIVE = 'naive composition';
const COPY = 'typed-array copy';
const WAITING_MAPS = ['io-pagetable (for its pin)', 'io-pagetable (for a lock)'];
const READER_IDLE = 'io-pagetable (reader, the owner idle)';
const READER_BUSY = 'io-pagetable (reader, the owner maps and unmaps a page)';
const UAPI = 'io-pagetable (ioctl)';
/** Maps, unmaps and answered translations of the log. */
const REAL_LOG_REQUESTS = 10_289 + 10_287 + 31_169;
/**
 * A tree whose nodes miss the cache grows like a power of its size too: the kernel's own, compiled natively, from
 * 76 ns at 1 000 entries to 1995 at 1 000 000, as n^0.47. An operation that visits all entries has 1.
 */
const LARGEST_EXPONENT = 0.6;
/** For each of n things, where all are touched: the same caches, and nothing else. */
const LARGEST_EXPONENT_EACH = 0.3;

/** A reader shares caches with the owner who writes; beyond that, mapping and unmapping may not slow it down. */
const LARGEST_DISTURBANCE = 1.5;

/** Ours at least `bound` times as fast as a peer. */
function faster(
  goal: number,
  row: RowName,
  size: number,
  bound: number,
  subject: string,
  peer: string,
): Goal {
  return (results) => {
    const ours = results.find(row, size, subject);
    const theirs = results.find(row, size, peer);
    const factor = ours && theirs && ratio(theirs, ours);
    return {
      goal,
      what: `${rowInfo(row).title}, ${count(size)}: ${subject} against ${peer}`,
      measured: factor === undefined ? NOT_MEASURED : `${times(factor)} faster`,
      bound: `at least ${times(bound)}`,
      met: factor === undefined ? undefined : factor >= bound,
    };
  };
}

/** Ours at most `bound` times what another subject takes. */
function within(
  goal: number,
  row: RowName,
  size: number,
  bound: number,
  subject: string,
  other: { readonly subject: string; readonly size: number },
): Goal {
  return (results) => {
    const ours = results.find(row, size, subject);
    const base = results.find(row, other.size, other.subject);
    const factor = ours && base && ratio(ours, base);
    const against = other.subject === subject ? count(other.size) : other.subject;
    return {
      goal,
      what: `${rowInfo(row).title}, ${count(size)}: ${subject} against ${against}`,
      measured: factor === undefined ? NOT_MEASURED : times(factor),
      bound: `at most ${times(bound)}`,
      met: factor === undefined ? undefined : factor <= bound,
    };
  };
}

/** What `uapi` adds to the typed call, at most `bound`. */
function adds(goal: number, row: RowName, size: number, bound: number): Goal {
  return addsTo(goal, row, size, bound, UAPI, { subject: OURS, called: 'the typed call' });
}

/** What one subject takes more than another, at most `bound`. */
function addsTo(
  goal: number,
  row: RowName,
  size: number,
  bound: number,
  subject: string,
  other: { readonly subject: string; readonly called: string },
): Goal {
  const { title, unit } = ROWS[row];
  return (results) => {
    const ours = results.find(row, size, subject);
    const base = results.find(row, size, other.subject);
    const more = ours && base && median(ours.rounds) - median(base.rounds);
    return {
      goal,
      what: `${title}: what it adds to ${other.called}`,
      measured: more === undefined ? NOT_MEASURED : figureText(more, unit),
      bound: `at most ${figureText(bound, unit)}`,
      met: more === undefined ? undefined : more <= bound,
    };
  };
}

/** A figure of at most `bound`. */
function atMost(goal: number, row: RowName, size: number, bound: number, subject = OURS): Goal {
  const { title, unit } = ROWS[row];
  return (results) => {
    const figure = results.find(row, size, subject);
    const value = figure && median(figure.rounds);
    return {
      goal,
      what: `${title}, ${count(size)}${subject === OURS ? '' : `: ${subject}`}`,
      measured: value === undefined ? NOT_MEASURED : figureText(value, unit),
      bound: `at most ${figureText(bound, unit)}`,
      met: value === undefined ? undefined : value <= bound,
    };
  };
}

/** A row whose figures grow slowly enough, wherever three sizes were measured. */
function grows(row: RowName, subject = OURS): Goal {
  const each = rowInfo(row).grows === 'each';
  const largest = each ? LARGEST_EXPONENT_EACH : LARGEST_EXPONENT;
  return (results) => {
    const growth = growthOf(results.points(row, subject));
    return {
      goal: 6,
      what: `Growth: ${rowInfo(row).title}${subject === OURS ? '' : `: ${subject}`}`,
      measured: growth === undefined ? NOT_MEASURED : `n^${growth.exponent.toFixed(2)}`,
      bound: `at most n^${largest}`,
      met: growth === undefined ? undefined : growth.exponent <= largest,
    };
  };
}

const translations = [OURS, NUMBER].flatMap((subject) => [
  faster(1, 'translate', 1000, 10, subject, PLAIN),
  faster(1, 'translate', 100_000, 20, subject, PLAIN),
  within(1, 'translate', 1_000_000, 4, subject, { subject, size: 1000 }),
  within(1, 'translateHuge', 1_000_000, 2, subject, { subject, size: 1000 }),
]);

const pairs = (['pair', 'pairInDomain'] as const).flatMap((row) => [
  faster(2, row, 1000, 8, OURS, NAIVE),
  faster(2, row, 100_000, 6, OURS, NAIVE),
]);

const transfers = (['dmaRead', 'dmaWrite'] as const).flatMap((row) => [
  within(4, row, 64, 4, OURS, { subject: COPY, size: 64 }),
  within(4, row, 4096, 1.5, OURS, { subject: COPY, size: 4096 }),
  within(4, row, 2 ** 20, 2, OURS, { subject: COPY, size: 2 ** 20 }),
]);

/** 2 µs and 20 ns a page. */
const PIN_256 = 2000 + 256 * 20;

const pins = [OURS, PIN_SYNC].flatMap((subject) => [
  atMost(4, 'pinRelease', 256, PIN_256, subject),
  atMost(4, 'pinReleaseInDomain', 256, PIN_256, subject),
]);

const GOALS: readonly Goal[] = [
  ...translations,
  ...[NUMBER, NUMBER_AMONG_BIGINTS].map((subject) => atMost(1, 'translateHeap', 100_000, 0.5, subject)),
  ...pairs,
  atMost(3, 'mapTebibyte', 2 ** 28, 5e6),
  atMost(3, 'mapScattered', 2 ** 22, 20),
  atMost(3, 'unmapScattered', 2 ** 22, 20),
  atMost(3, 'copyTouches', 2 ** 18, 0),
  ...transfers,
  ...pins,
  atMost(5, 'heapPerArea', 100_000, 600),
  atMost(5, 'heapOfPin', 2 ** 18, 4096),
  grows('translate'),
  grows('translateHuge'),
  grows('pair'),
  grows('pair', SYNC),
  grows('pairInDomain'),
  grows('pairInDomain', SYNC),
  ...(Object.keys(ROWS) as RowName[])
    .filter((row) => rowInfo(row).grows && !/^(translate|pair|late)/.test(row))
    .map((row) => grows(row)),
  (results) => ({ ...grows('latePins')(results), goal: 7 }),
  ...[1000, 10_000].map((size) => atMost(7, 'latePinsOrder', size, 0)),
  ...WAITING_MAPS.map((subject) => atMost(7, 'heapOfWaitingMap', 10_000, 4096, subject)),
  ...[1000, 100_000].map((size) =>
    within(8, 'translateElsewhere', size, LARGEST_DISTURBANCE, READER_BUSY, { subject: READER_IDLE, size }),
  ),
  faster(9, 'realLog', REAL_LOG_REQUESTS, 8, OURS, NAIVE),
  adds(10, 'uapiRw', 8, 5000),
  adds(10, 'uapiUnmap', 4096, 5000),
  ...(
    [
      ['deviceRead', 'read'],
      ['deviceWrite', 'write'],
    ] as const
  ).flatMap(([row, call]) => [
    within(11, row, 4096, 1.6, `io-pagetable (${call}Sync)`, { subject: COPY, size: 4096 }),
    addsTo(11, row, 4096, 200, `io-pagetable (${call}, with descriptors)`, {
      subject: `io-pagetable (${call}Sync)`,
      called: `${call}Sync`,
    }),
  ]),
  ...['with descriptors', 'without descriptors'].map((how) =>
    addsTo(11, 'regionRead', 1, 20_000, `io-pagetable (${how})`, {
      subject: `echo (${how})`,
      called: `an echo ${how}`,
    }),
  ),
];

/** All goals against the figures of a run. */
export function judge(results: Results): Verdict[] {
  return GOALS.map((goal) => goal(results));
}

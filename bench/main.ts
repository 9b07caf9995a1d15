/**
 * `npm run -s bench`: measures the library beside its peers, and says which goals the figures meet.
 *
 *   --quick        less than a minute: fewer rounds, without the largest sizes; writes no pictures
 *   --json FILE    writes all figures and verdicts to a file
 *   --only A,B     runs only these groups
 *   --profile      adds where the time of the library's own rows goes
 *   --against DIR  measures the library of another work tree too, round by round in turns, and says for each row how
 *                  many times as much this one takes; the largest last. Writes no pictures
 *   --runs N       how often each group is run; the rounds of all runs count. Two processes with the same code
 *                  differ by some per cent for as long as they live, so a small ratio needs several
 *
 * The exit status says whether everything could be measured; how fast it was never decides it.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { type Comparison, compare, pooled } from './comparison.js';
import { judge } from './goals.js';
import { GROUPS } from './groups/index.js';
import { build, buildAgainst, PROJECT } from './harness/build.js';
import { forkGroup, forkPair } from './harness/fork-group.js';
import { plot } from './plot.js';
import { type Figure, median, Results } from './results.js';
import type { RowName } from './rows.js';
import { comparisonText, goalsText, growthText, profileText, rowText, worstText } from './text.js';

interface Picture {
  readonly file: string;
  readonly title: string;
  readonly rows: readonly RowName[];
}

const PICTURES: readonly Picture[] = [
  { file: 'translate.svg', title: 'Translate a random address, 4 KiB pages', rows: ['translate'] },
  { file: 'map-unmap.svg', title: 'map + unmap of one page, one RadixDomain', rows: ['pairInDomain'] },
  {
    file: 'growth.svg',
    title: 'Operations on a table of n areas',
    rows: ['chooseIova', 'copyPage', 'readWord', 'pinPage', 'cutPages', 'reserve', 'readDirty', 'unmapAll'],
  },
];

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    only: { type: 'string' },
    profile: { type: 'boolean', default: false },
    against: { type: 'string' },
    runs: { type: 'string', default: '1' },
  },
});
const { quick, profile, against } = values;
const runs = Number(values.runs);
if (!(Number.isInteger(runs) && runs >= 1)) {
  console.error(`'${values.runs}' is no number of runs`);
  process.exit(2);
}
if (against !== undefined && !existsSync(`${against}/src/index.ts`)) {
  console.error(`'${against}' is no work tree of the project`);
  process.exit(2);
}
const names = values.only?.split(',') ?? Object.keys(GROUPS);
const unknown = names.find((name) => !Object.hasOwn(GROUPS, name));
if (unknown !== undefined) {
  console.error(`There is no group '${unknown}'. Groups: ${Object.keys(GROUPS).join(', ')}`);
  process.exit(2);
}

const machine = `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} logical CPUs, Node ${process.version}, V8 ${process.versions.v8}`;
console.log(`${machine}. Medians over rounds in which all subjects of a row took turns.\n`);

const script = await build();
const other = against === undefined ? undefined : await buildAgainst(against);
const comparisons: Comparison[] = [];

/** Runs a group as often as was asked for. Its figures; those of the other tree are compared with them. */
async function figuresOf(name: string): Promise<Figure[]> {
  const ours: Figure[] = [];
  const theirs: Figure[] = [];
  for (let run = 0; run < runs; run++) {
    if (other === undefined) {
      ours.push(...(await forkGroup(script, name, { quick, profile })));
      continue;
    }
    const pair = await forkPair({ ours: script, theirs: other }, name, { quick, profile }, run % 2 === 1);
    ours.push(...pair.ours);
    theirs.push(...(pair.theirs ?? []));
    if (pair.theirs === undefined) console.log(`${against} cannot run the group '${name}'\n`);
  }
  const measured = pooled(ours);
  comparisons.push(...compare(measured, pooled(theirs)));
  return measured;
}

const figures: Figure[] = [];
for (const name of names) {
  const start = performance.now();
  const compared = comparisons.length;
  const measured = await figuresOf(name);
  console.log(`## ${name}, ${((performance.now() - start) / 1000).toFixed(0)} s\n`);
  figures.push(...measured);
  const results = new Results(measured);
  for (const row of results.rows) console.log(`${rowText(results, row)}\n`);
  for (const figure of measured) if (figure.profile !== undefined) console.log(`${profileText(figure)}\n`);
  if (comparisons.length > compared) console.log(`${comparisonText(comparisons.slice(compared))}\n`);
}

const results = new Results(figures);
const verdicts = judge(results);
const growth = growthText(results);
if (growth !== undefined) console.log(`${growth}\n`);
console.log(goalsText(verdicts));
const passed = verdicts.filter(({ met }) => met === true).length;
const short = verdicts.filter(({ met }) => met === false).length;
console.log(
  `\n${passed} met, ${short} fall short, ${verdicts.length - passed - short} not measured in this run`,
);

if (comparisons.length > 0) console.log(`\n${worstText(comparisons)}`);

if (!quick && against === undefined) {
  const folder = `${PROJECT}docs/performance`;
  await mkdir(folder, { recursive: true });
  for (const { file, title, rows } of PICTURES) {
    const picture = await plot(results, title, rows);
    if (picture !== undefined) await writeFile(`${folder}/${file}`, `${picture}\n`);
  }
}
if (values.json !== undefined) {
  const medians = figures.map((figure) => ({ ...figure, median: median(figure.rounds) }));
  await writeFile(
    values.json,
    `${JSON.stringify({ machine, quick, figures: medians, verdicts, comparisons }, null, 2)}\n`,
  );
}

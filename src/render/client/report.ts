/**
 * The report's own program: what happens when the slider is moved.
 */
import type { RecordedStep, ReplayRecording } from '../../replay/recording.js';
import type { DrawnArea } from '../drawn-spans.js';
import { count, formatBytes, letters, printable } from '../format.js';
import { type PackedRecording, unpackRecording } from '../html-data.js';
import { byId, tag } from './dom.js';
import { History, type Lifetime, NO_CHANGE } from './history.js';
import { Operations } from './operations.js';
import { Picture } from './picture.js';
import { isRefused, Timeline, type TimelineContents } from './timeline.js';

const ROWS = 72;
const MOST_CHANGES = 4;
const PAGE = 4096n;

class Report {
  readonly #recording: ReplayRecording;
  readonly #history: History;
  readonly #slider = byId('time', HTMLInputElement);
  readonly #spaces = byId('space', HTMLSelectElement);
  readonly #details = byId('details', HTMLElement);
  readonly #operation = byId('operation', HTMLElement);
  readonly #timeline = new Timeline(byId('timeline', HTMLCanvasElement), byId('cursor', HTMLElement));
  readonly #operations: Operations;
  readonly #picture: Picture;
  /** Times after refused steps. */
  readonly #refused: readonly number[];
  readonly #timelines = new Map<number, TimelineContents>();
  /** The space whose timeline is drawn. */
  #drawn: number | undefined;
  #time = -1;
  #space: number | undefined;
  #frame = 0;

  constructor(recording: ReplayRecording) {
    this.#recording = recording;
    this.#history = new History(recording);
    this.#refused = recording.steps.flatMap((step, at) => (isRefused(step) ? [at + 1] : []));
    this.#picture = new Picture(byId('picture', HTMLElement), (text) => this.#tell(text));
    this.#operations = new Operations(
      byId('operations', HTMLElement),
      byId('rows', HTMLElement),
      recording.steps,
      (time) => this.go(time),
    );
    for (const { id, name } of recording.spaces) {
      const option = tag('option', printable(name));
      option.setAttribute('value', String(id));
      this.#spaces.append(option);
    }
    this.#space = recording.spaces[0]?.id;
    this.#slider.max = String(recording.steps.length);
    this.#listen();
    this.#operations.filter(() => true);
    this.go(this.#firstTime());
  }

  /** Shows a time, and the space that the step before it is about. */
  go(time: number): void {
    const bounded = Math.max(0, Math.min(this.#recording.steps.length, time));
    if (bounded === this.#time) return;
    this.#time = bounded;
    this.#space = this.#step()?.space ?? this.#space;
    // More moves may come before there is anything to see of this one.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#show();
    });
  }

  #firstTime(): number {
    const wrong = this.#recording.steps.findIndex((step) => step.diverges);
    return wrong < 0 ? this.#history.peak : wrong + 1;
  }

  #step(): RecordedStep | undefined {
    return this.#recording.steps[this.#time - 1];
  }

  #show(): void {
    const { steps, skipped } = this.#recording;
    const step = this.#step();
    const of = `${skipped + this.#time} of ${skipped + steps.length}`;
    const where = step === undefined ? 'before the first step' : `step ${of}`;
    this.#slider.value = String(this.#time);
    this.#slider.setAttribute(
      'aria-valuetext',
      step === undefined ? where : printable(`${where}: ${step.call}`),
    );
    byId('where', HTMLElement).textContent = where;
    this.#showTimeline();
    this.#timeline.moveTo(this.#time);
    this.#operations.moveTo(this.#time);
    this.#showOperation(step);
    this.#showPicture(step);
  }

  #showOperation(step: RecordedStep | undefined): void {
    const parts = [tag('h2', printable(step?.call ?? 'Before the first step'))];
    if (step !== undefined) {
      const model = this.#recording.profile;
      const because = step.reason === undefined ? '' : ` because ${step.reason}`;
      const says = step.diverges
        ? `The log says ${step.logged}, ${model} says ${step.answered}${because}.`
        : `${step.answered}${because}.`;
      parts.push(tag('p', printable(says), step.diverges ? 'diverges' : ''));
      if (step.advice !== undefined) parts.push(tag('p', printable(`Instead: ${step.advice}.`)));
      const { gone, came } = this.#history.changeAt(this.#time);
      for (const [sign, changed] of [
        ['−', gone],
        ['+', came],
      ] as const) {
        for (const { area } of changed.slice(0, MOST_CHANGES)) {
          parts.push(tag('p', `${sign} ${describeArea(area)}`));
        }
        const more = changed.length - MOST_CHANGES;
        if (more > 0) parts.push(tag('p', `${sign} ${more} more`));
      }
      const pinned = formatBytes(BigInt(step.pinnedPages) * PAGE);
      parts.push(tag('p', `Line ${step.line} of the log; ${pinned} pinned after it.`, 'quiet'));
    }
    this.#operation.replaceChildren(...parts);
  }

  #showPicture(step: RecordedStep | undefined): void {
    const space = this.#space;
    if (space === undefined) return;
    this.#spaces.value = String(space);
    const drawn = this.#history.at(this.#time, space);
    const { gone, came } = step?.space === space ? this.#history.changeAt(this.#time) : NO_CHANGE;
    const added = new Set(came.map(({ area }) => area));
    const emptied = gone.map(({ area }) => ({ first: BigInt(area.iova), last: BigInt(area.last) }));
    const name = this.#recording.spaces.find(({ id }) => id === space)!.name;
    this.#picture.show(drawn, {
      title: name,
      facts: `${count(drawn.areas.length, 'area')}, alignment ${formatBytes(BigInt(drawn.alignment))}`,
      rows: ROWS,
      name: nameOfPages,
      marked: ({ area, first, last }) =>
        area !== undefined
          ? added.has(area)
          : emptied.some((range) => range.first <= last && range.last >= first),
    });
  }

  #showTimeline(): void {
    const space = this.#space;
    if (space === undefined || space === this.#drawn) return;
    this.#drawn = space;
    const contents = this.#timelines.get(space) ?? {
      lifetimes: this.#history.lifetimes.filter((lifetime) => lifetime.space === space),
      settings: this.#history.settings(space),
      steps: this.#recording.steps,
    };
    this.#timelines.set(space, contents);
    this.#timeline.show(contents);
  }

  #tell(text: string): void {
    this.#details.textContent = text;
  }

  #describe({ area, from, to }: Lifetime): string {
    const { skipped, steps } = this.#recording;
    const since = from === 0 ? 'from before the first step' : `from step ${skipped + from}`;
    const until = to > steps.length ? '' : ` to step ${skipped + to}`;
    return `${describeArea(area)}, ${since}${until}`;
  }

  #listen(): void {
    const steps = this.#recording.steps;
    this.#slider.addEventListener('input', () => this.go(this.#slider.valueAsNumber));
    this.#spaces.addEventListener('change', () => {
      this.#space = Number(this.#spaces.value);
      this.#showTimeline();
      this.#showPicture(this.#step());
    });
    const shows: Readonly<Record<string, (step: RecordedStep) => boolean>> = {
      all: () => true,
      failing: isRefused,
      diverging: ({ diverges }) => diverges,
    };
    const filter = byId('filter', HTMLSelectElement);
    filter.addEventListener('change', () => this.#operations.filter(shows[filter.value]!));
    const click = (id: string, time: () => number | undefined) =>
      byId(id, HTMLButtonElement).addEventListener('click', () => this.go(time() ?? this.#time));
    click('previous', () => this.#time - 1);
    click('next', () => this.#time + 1);
    click('previous-failing', () => this.#refused.findLast((time) => time < this.#time));
    click('next-failing', () => this.#refused.find((time) => time > this.#time));
    const canvas = byId('timeline', HTMLCanvasElement);
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.go(this.#timeline.timeAt(event));
    });
    canvas.addEventListener('pointermove', (event) => {
      if (event.buttons > 0) this.go(this.#timeline.timeAt(event));
      const lifetime = this.#timeline.areaAt(event);
      const step = steps[this.#timeline.timeAt(event) - 1];
      if (lifetime !== undefined) this.#tell(this.#describe(lifetime));
      else if (step !== undefined) this.#tell(printable(`line ${step.line}: ${step.call}: ${step.answered}`));
    });
    const again = () => {
      this.#timeline.draw();
      this.#operations.resize();
    };
    window.addEventListener('resize', again);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  }
}

function describeArea({ iova, last, prot, source, uptr, pages }: DrawnArea): string {
  const size = formatBytes(BigInt(last) - BigInt(iova) + 1n);
  const access = prot === '' ? 'no access' : prot;
  return printable(
    `${iova} to ${last}, ${size}: ${access}, ${source} ${uptr}, pages ${nameOfPages(pages ?? 0)}`,
  );
}

/** Pages are numbered from 1. */
function nameOfPages(pages: number): string {
  return letters(Math.max(0, pages - 1));
}

const packed: PackedRecording = JSON.parse(byId('recording', HTMLScriptElement).text);
new Report(unpackRecording(packed));
document.documentElement.setAttribute('data-ready', '');

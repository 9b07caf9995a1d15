/**
 * A recording in few bytes, as JSON that can stand in an HTML document.
 *
 * Most of a recording is 64-bit numbers, in texts too, and most of them come several times: in the call that maps, in
 * the area that appears, in the call that unmaps. So every distinct number is kept once, in order, as the distance from
 * the one before it; and what is left of a text is kept once, whatever the numbers in it.
 */
import type {
  RecordedArea,
  RecordedSetting,
  RecordedSpace,
  RecordedStep,
  ReplayRecording,
} from '../replay/recording.js';

/** A packed recording: plain data of numbers and texts. */
export interface PackedRecording {
  /** What is neither a space nor a step. */
  readonly head: Omit<ReplayRecording, 'spaces' | 'steps' | 'skippedDivergences'>;
  /** Distances between the distinct numbers, as hex digits with a space between them. */
  readonly numbers: string;
  /** Texts, taken apart where a number stands. */
  readonly texts: readonly (readonly string[])[];
  readonly settings: readonly RecordedSetting[];
  /** Spaces, steps and skipped divergences, as indexes of the above. */
  readonly words: readonly number[];
}

/** The numbers that are taken out of texts: those that are put back exactly. */
const NUMBER = /0x(?:0|[1-9a-f][0-9a-f]{0,15})(?![0-9a-f])/g;

const DIVERGES = 1;
const REASON = 2;
const ADVICE = 4;
const REMOVED = 8;
const ADDED = 16;
const SETTING = 32;
const ABOUT_A_SPACE = 64;

/** Packs a recording. */
export function packRecording(recording: ReplayRecording): PackedRecording {
  const { spaces, steps, skippedDivergences, ...head } = recording;
  const packer = new Packer();
  packer.list(spaces, (space) => packer.space(space));
  packer.list(steps, (step) => packer.step(step));
  packer.list(skippedDivergences, (step) => packer.step(step));
  return { head, ...packer.finish() };
}

/** The recording that was packed. */
export function unpackRecording(packed: PackedRecording): ReplayRecording {
  const unpacker = new Unpacker(packed);
  const spaces = unpacker.list(() => unpacker.space());
  const steps = unpacker.list(() => unpacker.step());
  return { ...packed.head, spaces, steps, skippedDivergences: unpacker.list(() => unpacker.step()) };
}

/** JSON in pieces, none of which can end the element that it stands in, or begin another. */
export function* jsonPieces(packed: PackedRecording): Generator<string, void, undefined> {
  const { words, ...rest } = packed;
  yield `${inertJson(rest).slice(0, -1)},"words":[`;
  for (let at = 0; at < words.length; at += PIECE) {
    yield (at === 0 ? '' : ',') + words.slice(at, at + PIECE).join(',');
  }
  yield ']}';
}

const PIECE = 1 << 14;

function inertJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

class Packer {
  readonly #words: number[] = [];
  /** Where in `#words` a number is meant by the order in which it was first seen. */
  readonly #numberAt: number[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #texts = new Map<string, number>();
  readonly #settings = new Map<string, number>();
  #line = 0;
  #pinned = 0;
  #pages = 0;

  list<T>(items: readonly T[], pack: (item: T) => void): void {
    this.#words.push(items.length);
    for (const item of items) pack(item);
  }

  space({ id, name, areas, setting }: RecordedSpace): void {
    this.#words.push(id);
    this.#text(name);
    this.list(areas, (area) => this.#area(area));
    this.#setting(setting);
  }

  step(step: RecordedStep): void {
    const { line, space, call, logged, answered, diverges, pinnedPages } = step;
    const { reason, advice, removed, added, setting } = step;
    const flags =
      (diverges ? DIVERGES : 0) |
      (reason === undefined ? 0 : REASON) |
      (advice === undefined ? 0 : ADVICE) |
      (removed === undefined ? 0 : REMOVED) |
      (added === undefined ? 0 : ADDED) |
      (setting === undefined ? 0 : SETTING) |
      (space === null ? 0 : ABOUT_A_SPACE);
    this.#words.push(flags, line - this.#line, pinnedPages - this.#pinned);
    this.#line = line;
    this.#pinned = pinnedPages;
    if (space !== null) this.#words.push(space);
    for (const text of [call, logged, answered, reason, advice]) if (text !== undefined) this.#text(text);
    if (removed !== undefined) this.list(removed, (iova) => this.#text(iova));
    if (added !== undefined) this.list(added, (area) => this.#area(area));
    if (setting !== undefined) this.#setting(setting);
  }

  finish(): Omit<PackedRecording, 'head'> {
    const values = [...this.#numbers.keys()].map((digits) => BigInt(`0x${digits}`));
    const order = [...values.keys()].sort((a, b) => (values[a]! < values[b]! ? -1 : 1));
    const rank = new Array<number>(values.length);
    for (const [at, seen] of order.entries()) rank[seen] = at;
    for (const at of this.#numberAt) this.#words[at] = rank[this.#words[at]!]!;
    let before = 0n;
    const distances = order.map((seen) => {
      const distance = values[seen]! - before;
      before = values[seen]!;
      return distance.toString(16);
    });
    return {
      numbers: distances.join(' '),
      texts: [...this.#texts.keys()].map((text) => JSON.parse(text)),
      settings: [...this.#settings.keys()].map((setting) => JSON.parse(setting)),
      words: this.#words,
    };
  }

  #area({ iova, last, source, uptr, prot, pages }: RecordedArea): void {
    const from = source === undefined ? uptr : `${source} ${uptr}`;
    for (const text of [iova, last, from, prot]) this.#text(text);
    this.#words.push(pages - this.#pages);
    this.#pages = pages;
  }

  #setting(setting: RecordedSetting): void {
    this.#words.push(indexIn(this.#settings, JSON.stringify(setting)));
  }

  #text(text: string): void {
    this.#words.push(indexIn(this.#texts, JSON.stringify(text.split(NUMBER))));
    for (const [number] of text.matchAll(NUMBER)) {
      this.#numberAt.push(this.#words.length);
      this.#words.push(indexIn(this.#numbers, number.slice(2)));
    }
  }
}

function indexIn(map: Map<string, number>, key: string): number {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, map.size);
  return map.size - 1;
}

class Unpacker {
  readonly #words: readonly number[];
  readonly #texts: PackedRecording['texts'];
  readonly #settings: readonly RecordedSetting[];
  readonly #numbers: string[] = [];
  #at = 0;
  #line = 0;
  #pinned = 0;
  #pages = 0;

  constructor({ words, texts, settings, numbers }: PackedRecording) {
    this.#words = words;
    this.#texts = texts;
    this.#settings = settings;
    let value = 0n;
    for (const distance of numbers === '' ? [] : numbers.split(' ')) {
      value += BigInt(`0x${distance}`);
      this.#numbers.push(`0x${value.toString(16)}`);
    }
  }

  list<T>(unpack: () => T): T[] {
    const length = this.#word();
    return Array.from({ length }, unpack);
  }

  space(): RecordedSpace {
    const id = this.#word();
    const name = this.#text();
    const areas = this.list(() => this.#area());
    return { id, name, areas, setting: this.#setting() };
  }

  step(): RecordedStep {
    const flags = this.#word();
    const has = (flag: number) => (flags & flag) !== 0;
    const line = (this.#line += this.#word());
    const pinnedPages = (this.#pinned += this.#word());
    const space = has(ABOUT_A_SPACE) ? this.#word() : null;
    const [call, logged, answered] = [this.#text(), this.#text(), this.#text()];
    return {
      line,
      space,
      call,
      logged,
      answered,
      diverges: has(DIVERGES),
      pinnedPages,
      ...(has(REASON) ? { reason: this.#text() } : {}),
      ...(has(ADVICE) ? { advice: this.#text() } : {}),
      ...(has(REMOVED) ? { removed: this.list(() => this.#text()) } : {}),
      ...(has(ADDED) ? { added: this.list(() => this.#area()) } : {}),
      ...(has(SETTING) ? { setting: this.#setting() } : {}),
    };
  }

  #area(): RecordedArea {
    const [iova, last, from, prot] = [this.#text(), this.#text(), this.#text(), this.#text()];
    const pages = (this.#pages += this.#word());
    for (const source of ['file', 'dma-buf'] as const) {
      const words = `${source} `;
      if (from.startsWith(words)) return { iova, last, source, uptr: from.slice(words.length), prot, pages };
    }
    return { iova, last, uptr: from, prot, pages };
  }

  #setting(): RecordedSetting {
    return this.#settings[this.#word()]!;
  }

  #text(): string {
    const [first, ...others] = this.#texts[this.#word()]!;
    return others.reduce((text, part) => text + this.#numbers[this.#word()]! + part, first!);
  }

  #word(): number {
    return this.#words[this.#at++]!;
  }
}

/**
 * What the parsers of all log formats share: where a line came from, and forms of lines that are read and
 * written by the same description.
 */

import { hex, MAX_U64 } from '../u64.js';

/** Lines of a log without their line ends, in order; the first has number 1. */
export type LogLines = Iterable<string> | AsyncIterable<string>;

/** Something that happened on one line of a log. */
export interface LogPlace {
  /** Number of the line in its log; the first is 1. */
  readonly line: number;
}

/** A line that names a known event but doesn't have its form; it is reported and the run goes on. */
export interface MalformedLine extends LogPlace {
  readonly type: 'malformed';
  /** What is wrong with it, cut after 1000 characters. */
  readonly problem: string;
  /** The line itself, cut after 200 characters. Untrusted: escape it where it is shown. */
  readonly text: string;
}

const LONGEST_QUOTE = 200;
const LONGEST_PROBLEM = 1000;

/**
 * The beginning of text from a log, to be kept.
 *
 * It is a string of its own: what engines give as a part of a string keeps the whole of it alive, and a line may have
 * millions of characters.
 */
export function quote(text: string, longest = LONGEST_QUOTE): string {
  return JSON.parse(JSON.stringify(text.slice(0, longest)));
}

/** The report of a malformed line. */
export function malformed(line: number, text: string, problem: string): MalformedLine {
  return { type: 'malformed', line, problem: quote(problem, LONGEST_PROBLEM), text: quote(text) };
}

/** What a slot of a form holds, by its kind. */
interface SlotKinds {
  /** An integer of at most ten decimal digits. */
  int: number;
  /** An unsigned 64-bit integer in decimal. */
  u64: bigint;
  /** An unsigned 64-bit integer in hex, with `0x`. */
  hex: bigint;
  /** `0` or `1`. */
  bool: boolean;
  /** Anything without white space. */
  word: string;
}

/** The named values of a form: `size=<length:hex>` has the field `length`, a bigint. */
export type FormFields<Form extends string> =
  Form extends `${string}<${infer Name}:${infer Kind extends keyof SlotKinds}>${infer Rest}`
    ? { readonly [Key in Name]: SlotKinds[Kind] } & FormFields<Rest>
    : unknown;

/** A form of text that is read into named values, and written from them. */
export interface LineForm<Form extends string> {
  /** The form as it was given, for messages. */
  readonly form: Form;
  /** The values, or `undefined` if the text doesn't have this form. */
  read(text: string): FormFields<Form> | undefined;
  /** The text of the values; `read` gives them back. */
  write(values: FormFields<Form>): string;
}

type SlotValue = SlotKinds[keyof SlotKinds];

interface SlotKind {
  readonly pattern: string;
  read(text: string): SlotValue | undefined;
  write(value: SlotValue): string;
}

const SLOT_KINDS: Readonly<Record<string, SlotKind>> = {
  int: { pattern: '(-?[0-9]{1,10})', read: Number, write: String },
  u64: { pattern: '([0-9]{1,20})', read: readDecimal, write: String },
  hex: { pattern: '(0x[0-9a-fA-F]{1,16})', read: BigInt, write: (value) => hex(BigInt(value)) },
  bool: { pattern: '([01])', read: (text) => text === '1', write: (value) => (value ? '1' : '0') },
  word: { pattern: '([^\\s]+)', read: String, write: String },
};

function readDecimal(text: string): bigint | undefined {
  const value = BigInt(text);
  return value <= MAX_U64 ? value : undefined;
}

/** Compiles a form: literal text with slots `<name:kind>`. */
export function lineForm<Form extends string>(form: Form): LineForm<Form> {
  // Splitting by a pattern with two groups gives: literal, name, kind, literal, name, kind … literal.
  const parts = form.split(/<([a-zA-Z]+):([a-z0-9]+)>/);
  const literals = parts.filter((_, at) => at % 3 === 0);
  const names = parts.filter((_, at) => at % 3 === 1);
  const kinds = parts.filter((_, at) => at % 3 === 2).map((kind) => SLOT_KINDS[kind]!);
  const slots = names.map((name, at) => ({ name, kind: kinds[at]!, after: literals[at + 1]! }));
  const source = slots.map(({ kind, after }) => kind.pattern + escapePattern(after)).join('');
  const pattern = new RegExp(`^${escapePattern(literals[0]!)}${source}$`);
  return {
    form,
    read(text) {
      const match = pattern.exec(text);
      if (match === null) return undefined;
      const fields: Record<string, SlotValue> = {};
      for (const [at, { name, kind }] of slots.entries()) {
        const value = kind.read(match[at + 1]!);
        if (value === undefined) return undefined;
        fields[name] = value;
      }
      return fields as FormFields<Form>;
    },
    write(values) {
      const fields = values as Record<string, SlotValue>;
      const text = slots.map(({ name, kind, after }) => kind.write(fields[name]!) + after).join('');
      return literals[0]! + text;
    },
  };
}

function escapePattern(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** A trace event as QEMU's log back end prints it. */
export interface TraceEvent extends LogPlace {
  /** The whole line. */
  readonly text: string;
  /** The event's name without the family's prefix. */
  readonly name: string;
  /** Everything after the name, trimmed. */
  readonly rest: string;
}

/**
 * Finds a trace event of a family (`virtio_iommu_` …) in a line: at its start, or behind a prefix such as
 * `PID@SECONDS.MICROSECONDS:`.
 */
export function findTraceEvent(text: string, line: number, family: string): TraceEvent | undefined {
  const at = text.indexOf(family);
  if (at < 0 || (at > 0 && !/[\s:]/.test(text[at - 1]!))) return undefined;
  const event = text.slice(at + family.length).trimEnd();
  const gap = event.search(/\s/);
  if (gap < 0) return { line, text, name: event, rest: '' };
  return { line, text, name: event.slice(0, gap), rest: event.slice(gap).trimStart() };
}

/** Cuts chunks of text into lines in bounded memory; a line is cut after `longest` characters. */
export async function* splitLines(
  chunks: Iterable<string> | AsyncIterable<string>,
  longest = 65_536,
): AsyncGenerator<string, void, undefined> {
  let rest = '';
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf('\n'); at >= 0; at = chunk.indexOf('\n', from)) {
      yield withoutReturn(extend(rest, chunk.slice(from, at), longest));
      rest = '';
      from = at + 1;
    }
    rest = extend(rest, chunk.slice(from), longest);
  }
  if (rest !== '') yield withoutReturn(rest);
}

function extend(line: string, more: string, longest: number): string {
  return line.length + more.length > longest ? line + more.slice(0, longest - line.length) : line + more;
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}

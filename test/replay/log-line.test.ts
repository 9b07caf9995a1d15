import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findTraceEvent, lineForm, malformed, splitLines } from '../../src/replay/log-line.js';

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

test('lines come out as they went in, however the text is cut into chunks', async () => {
  const line = fc.string({ maxLength: 20 }).map((text) => text.replaceAll(/[\r\n]/g, '.'));
  await fc.assert(
    fc.asyncProperty(
      fc.array(line),
      fc.constantFrom('\n', '\r\n'),
      fc.array(fc.integer({ min: 1, max: 7 })),
      async (lines, lineEnd, cuts) => {
        let text = lines.map((each) => each + lineEnd).join('');
        const chunks: string[] = [];
        for (const cut of cuts) {
          chunks.push(text.slice(0, cut));
          text = text.slice(cut);
        }
        chunks.push(text);
        expect(await collect(splitLines(chunks))).toEqual(lines);
      },
    ),
  );
});

test('a last line without a line end counts, and a line of any length costs bounded memory', async () => {
  expect(await collect(splitLines(['a\nb']))).toEqual(['a', 'b']);
  expect(await collect(splitLines(['abc', 'def', 'ghi\nxy'], 5))).toEqual(['abcde', 'xy']);
});

test('a form reads what it wrote', () => {
  const form = lineForm('a[<count:int>] (<size:u64>) at <place:hex>, on=<on:bool> by <name:word>.');
  const values = fc.record({
    count: fc.integer({ min: -999_999_999, max: 999_999_999 }),
    size: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    place: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    on: fc.boolean(),
    name: fc.stringMatching(/^[!-~]+$/),
  });
  fc.assert(
    fc.property(values, (fields) => {
      expect(form.read(form.write(fields))).toEqual(fields);
    }),
  );
  expect(form.write({ count: -1, size: 7n, place: 255n, on: true, name: 'x' })).toBe(
    'a[-1] (7) at 0xff, on=1 by x.',
  );
});

test.each([
  ['a decimal past 64 bits', '<size:u64>', '18446744073709551616'],
  ['hex past 64 bits', '<place:hex>', '0x10000000000000000'],
  ['hex without its mark', '<place:hex>', 'ff'],
  ['an integer past ten digits', '<count:int>', '12345678901'],
  ['a truth value that is none', '<on:bool>', '2'],
  ['a word with a space', '<name:word>', 'a b'],
  ['an empty word', '<name:word>', ''],
  ['text after the form', 'n=<count:int>', 'n=1 '],
  ['a literal that a pattern would take', 'a.<count:int>', 'ab1'],
])('a form refuses %s', (_, form, text) => {
  expect(lineForm(form).read(text)).toBeUndefined();
});

test('trace events are found at the start of a line and behind a prefix, nowhere else', () => {
  const find = (text: string) => {
    const found = findTraceEvent(text, 3, 'family_');
    return found && [found.name, found.rest];
  };
  expect(find('family_event a=1 b=2\r')).toEqual(['event', 'a=1 b=2']);
  expect(find('4711@1700000000.123456:family_event  a=1')).toEqual(['event', 'a=1']);
  expect(find('[thread 3] family_event')).toEqual(['event', '']);
  expect(find('my_family_event a=1')).toBeUndefined();
  expect(find('nothing of the kind')).toBeUndefined();
});

test('the report of a malformed line quotes no more than its beginning', () => {
  expect(malformed(7, 'x'.repeat(1000), 'is wrong')).toEqual({
    type: 'malformed',
    line: 7,
    problem: 'is wrong',
    text: 'x'.repeat(200),
  });
});

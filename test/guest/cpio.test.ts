/** The archive is read by the kernel; here it is read by the rules of its form. */
import { expect, test } from 'vitest';
import { cpio, folder, link, program } from '../../scripts/guest/cpio.js';

interface Entry {
  readonly name: string;
  readonly mode: number;
  readonly content: string;
}

function entries(archive: Buffer): Entry[] {
  const found: Entry[] = [];
  for (let at = 0; at < archive.length; ) {
    const header = archive.toString('latin1', at, at + 110);
    expect(header.slice(0, 6)).toBe('070701');
    const field = (index: number) => Number.parseInt(header.slice(6 + 8 * index, 14 + 8 * index), 16);
    const nameLast = at + 110 + field(11);
    const begin = (nameLast + 3) & ~3;
    expect(archive[nameLast - 1]).toBe(0);
    found.push({
      name: archive.toString('latin1', at + 110, nameLast - 1),
      mode: field(1),
      content: archive.toString('latin1', begin, begin + field(6)),
    });
    at = (begin + field(6) + 3) & ~3;
  }
  return found;
}

test('folders, files of any length, and links are packed', () => {
  const files = [folder('bin'), program('bin/a', 'x'), program('bin/four', 'four'), link('bin/b', 'a')];
  expect(entries(cpio(files))).toEqual([
    { name: 'bin', mode: 0o040755, content: '' },
    { name: 'bin/a', mode: 0o100755, content: 'x' },
    { name: 'bin/four', mode: 0o100755, content: 'four' },
    { name: 'bin/b', mode: 0o120777, content: 'a' },
    { name: 'TRAILER!!!', mode: 0, content: '' },
  ]);
});

/** Where packages come from is read from the machine's own apt configuration, in both of its forms. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  debianMirror,
  machineSources,
  readOneLineSources,
  readStanzaSources,
} from '../../scripts/guest/apt.js';

describe('one-line sources', () => {
  test('are read with and without options, without comments and sources of source code', () => {
    const text = [
      '# deb http://commented.example/debian bookworm main',
      'deb-src http://mirror.example/debian bookworm main',
      'deb http://mirror.example/debian bookworm main contrib # the usual',
      '\tdeb [arch=amd64 signed-by=/keys/a.gpg]  https://other.example/debian/ stable   main',
      'deb http://flat.example/ ./',
    ].join('\n');
    expect(readOneLineSources(text)).toEqual([
      { uri: 'http://mirror.example/debian', suite: 'bookworm', components: ['main', 'contrib'] },
      {
        uri: 'https://other.example/debian/',
        suite: 'stable',
        components: ['main'],
        keyring: '/keys/a.gpg',
      },
      { uri: 'http://flat.example/', suite: './', components: [] },
    ]);
  });
});

describe('sources in stanzas', () => {
  test('are read with several values, continued lines and comments', () => {
    const text = [
      'Types: deb deb-src',
      '# URIs: http://commented.example/debian',
      'URIs: http://mirror.example/debian',
      'Suites: bookworm',
      '# between',
      '  bookworm-updates',
      'Components: main',
      'Signed-By: /keys/b.gpg',
      '',
      'Types: deb-src',
      'URIs: http://sources.example/debian',
      'Suites: bookworm',
      'Components: main',
      '',
      'Types: deb',
      'Enabled: no',
      'URIs: http://off.example/debian',
      'Suites: bookworm',
      'Components: main',
    ].join('\n');
    const common = { uri: 'http://mirror.example/debian', components: ['main'], keyring: '/keys/b.gpg' };
    expect(readStanzaSources(text)).toEqual([
      { ...common, suite: 'bookworm' },
      { ...common, suite: 'bookworm-updates' },
    ]);
  });

  test('a key that stands in the file itself is no keyring', () => {
    const text =
      'Types: deb\nURIs: http://m.example/debian\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n';
    expect(readStanzaSources(text)).toEqual([
      { uri: 'http://m.example/debian', suite: 'sid', components: ['main'] },
    ]);
  });
});

describe('the mirror', () => {
  const main = ['main'];

  test('is the first with a suite of Debian, and not one of security updates or of another project', () => {
    const sources = [
      { uri: 'http://tools.example/node', suite: 'nodistro', components: main },
      { uri: 'http://security.example/debian-security', suite: 'bookworm-security', components: main },
      { uri: 'http://extra.example/debian', suite: 'bookworm', components: ['contrib'] },
      { uri: 'http://mirror.example/debian', suite: 'bookworm', components: main },
    ];
    expect(debianMirror(sources).uri).toBe('http://mirror.example/debian');
  });

  test('is said to be missing', () => {
    expect(() => debianMirror([{ uri: 'http://u.example/', suite: 'noble', components: main }])).toThrow(
      'names no mirror of Debian',
    );
  });

  test('is found in the files of apt, and in the list of mirrors that they may name', () => {
    const folder = mkdtempSync(join(tmpdir(), 'io-pagetable-apt-'));
    try {
      const list = join(folder, 'mirrors.txt');
      writeFileSync(list, '# ours\nhttp://near.example/debian\tpriority:1\nhttp://far.example/debian\n');
      mkdirSync(join(folder, 'sources.list.d'));
      writeFileSync(join(folder, 'sources.list'), 'deb http://u.example/ noble main\n');
      writeFileSync(join(folder, 'sources.list.d/a.list.disabled'), 'deb http://off.example/ sid main\n');
      writeFileSync(
        join(folder, 'sources.list.d/debian.sources'),
        `Types: deb\nURIs: mirror+file://${list}\nSuites: trixie\nComponents: main\n`,
      );
      expect(debianMirror(machineSources(folder))).toEqual({
        uri: 'http://near.example/debian',
        suite: 'trixie',
        components: main,
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

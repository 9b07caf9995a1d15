/** What a guest boots into: busybox, modules of its kernel, a test program, and a script that is run. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { insideOf, OUTSIDE, run } from './chroot.js';
import { type ArchiveFile, cpio, folder, link, program } from './cpio.js';

const INSIDE = fileURLToPath(new URL('inside/', import.meta.url));

export interface InitramfsOptions {
  /** Names of kernel modules that are loaded before the script, each with its parameters; others that they need come along. */
  readonly modules?: readonly string[];
  /** What the guest does, in words of its shell; `say NAME VALUE` and `dma` … as `inside/init` has them. */
  readonly script: string;
  /** Test programs: files of `inside/` in C, without their `.c`. */
  readonly programs?: readonly string[];
}

/** An initramfs for the kernel of the system in `root`. */
export function initramfs(root: string, options: InitramfsOptions): Buffer {
  const modules = modulesOf(root, options.modules ?? []);
  const programs = options.programs ?? [];
  return cpio([
    ...['bin', 'dev', 'proc', 'sys', 'tmp', 'modules', 'lib', 'lib64'].map(folder),
    program('bin/busybox', readFileSync(join(root, 'usr/bin/busybox'))),
    link('bin/sh', 'busybox'),
    program('init', readFileSync(join(INSIDE, 'init'))),
    program('script', options.script),
    program('modules/list', modules.map(({ line }) => `${line}\n`).join('')),
    ...modules.map(({ file }) => file),
    ...(programs.length > 0 ? libraries(root) : []),
    ...programs.map((name) => program(`bin/${name}`, compile(root, name))),
  ]);
}

/** The C library; the compiler that the system has cannot link it in. */
function libraries(root: string): ArchiveFile[] {
  return ['lib64/ld-linux-x86-64.so.2', 'lib/libc.so.6'].map((path) => {
    const [file] = path.split('/').slice(-1);
    return program(path, readFileSync(join(root, 'usr/lib/x86_64-linux-gnu', file!)));
  });
}

function compile(root: string, name: string): Buffer {
  const output = mkdtempSync(join(tmpdir(), 'io-pagetable-compile-'));
  try {
    const source = readFileSync(join(INSIDE, `${name}.c`), 'utf8');
    const compiler = ['tcc', '-Wall', '-Werror', '-o', `${OUTSIDE}${output}/program`, '-'];
    run('unshare', insideOf(root, compiler), `${name}.c cannot be compiled`, source);
    return readFileSync(join(output, 'program'));
  } finally {
    rmSync(output, { recursive: true });
  }
}

interface Module {
  /** Its file in the guest and its parameters, as the guest gives them to insmod. */
  readonly line: string;
  readonly file: ArchiveFile;
}

/** The modules and all that they need, in the order in which they can be loaded. */
function modulesOf(root: string, names: readonly string[]): Module[] {
  if (names.length === 0) return [];
  const all = join(root, 'usr/lib/modules');
  const [version] = readdirSync(all).filter((name) => existsSync(join(all, name, 'modules.dep')));
  if (version === undefined) throw new Error(`${root} has no kernel modules`);
  const needs = new Map<string, string[]>();
  for (const line of readFileSync(join(all, version, 'modules.dep'), 'utf8').split('\n')) {
    const [path, after = ''] = line.split(':');
    // The nearest need comes first, and what is needed most, last.
    if (path) needs.set(path, after.split(' ').filter(Boolean).reverse());
  }
  const loaded = new Map<string, Module>();
  for (const wanted of names) {
    const [name, ...parameters] = wanted.split(' ');
    const path = [...needs.keys()].find((one) => one.endsWith(`/${name}.ko.xz`));
    if (path === undefined) throw new Error(`the kernel ${version} has no module ${name}`);
    for (const needed of [...needs.get(path)!, path]) {
      if (loaded.has(needed)) continue;
      const file = program(`modules/${needed.split('/').at(-1)}`, readFileSync(join(all, version, needed)));
      const line = [`/${file.path}`, ...(needed === path ? parameters : [])].join(' ');
      loaded.set(needed, { line, file });
    }
  }
  return [...loaded.values()];
}

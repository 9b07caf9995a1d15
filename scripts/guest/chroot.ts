/**
 * The folder with QEMU and the guest's kernel: a minimal Debian system, made once by debootstrap from this machine's
 * own mirror and kept outside of the work tree.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { debianMirror, machineSources } from './apt.js';

const SUITE = 'trixie';
/** The newest QEMU of that suite; vfio-user-pci came with QEMU 10.1. */
const QEMU_SUITE = `${SUITE}-backports`;
const QEMU = ['qemu-system-x86', 'seabios'];
/** The guest's kernel and its programs; the compiler and the headers are for the guest's test programs. */
const GUEST = ['linux-image-cloud-amd64', 'busybox-static', 'tcc', 'libc6-dev'];
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Where a program inside the system finds the files of this machine. */
export const OUTSIDE = '/mnt';

/**
 * The arguments of `unshare` that run a program inside the system. Its mounts are made in a namespace of their own, so
 * they end with the program, however it ends.
 */
export function insideOf(root: string, command: readonly string[]): string[] {
  const script = [
    'mount -t proc proc "$1/proc"',
    'mount --rbind /dev "$1/dev"',
    `mount --rbind / "$1${OUTSIDE}"`,
    'root=$1',
    'shift',
    'exec chroot "$root" "$@"',
  ].join(' && ');
  return ['--mount', 'sh', '-c', script, 'sh', root, ...command];
}

/** Where the systems are kept: `$IO_PAGETABLE_CACHE`, or a folder among the user's caches. */
export function cacheFolder(): string {
  const { IO_PAGETABLE_CACHE: named, XDG_CACHE_HOME: caches } = process.env;
  if (named !== undefined && named !== '') return named;
  return join(caches !== undefined && caches !== '' ? caches : join(homedir(), '.cache'), 'io-pagetable');
}

/**
 * The folder of a ready system, which is made if there is none.
 *
 * It becomes visible under its name as a whole, when nothing is missing any more. So it may be interrupted, and two
 * may make it at the same time.
 *
 * @throws Error with a sentence that says what this machine does not have
 */
export function prepareChroot(say: (line: string) => void): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`a real guest needs Linux on x86-64, and this is ${process.platform} on ${process.arch}`);
  }
  if (process.getuid?.() !== 0) {
    throw new Error('a real guest needs root: debootstrap and chroot cannot work for other users');
  }
  const recipe = createHash('sha256')
    .update([SUITE, QEMU_SUITE, ...QEMU, ...GUEST].join())
    .digest('hex');
  const cache = cacheFolder();
  const ready = join(cache, `${SUITE}-${recipe.slice(0, 12)}`);
  if (existsSync(ready)) return ready;
  mkdirSync(cache, { recursive: true });
  removeAbandoned(cache);
  const partial = `${ready}.partial-${process.pid}`;
  const start = performance.now();
  try {
    install(partial, say);
    renameSync(partial, ready);
  } catch (error) {
    if (!existsSync(ready)) throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  say(`made ${ready} in ${Math.round((performance.now() - start) / 1000)} s`);
  return ready;
}

/** Half-made systems whose makers are gone. */
function removeAbandoned(cache: string): void {
  for (const name of readdirSync(cache)) {
    const [, pid] = /\.partial-(\d+)$/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(cache, name), { recursive: true });
  }
}

function install(root: string, say: (line: string) => void): void {
  const mirror = debianMirror(machineSources());
  if (!existsOnPath('debootstrap') || !existsSync(mirror.keyring ?? KEYRING)) {
    say('installing debootstrap');
    const packages = ['debootstrap', 'debian-archive-keyring'];
    run('apt-get', ['update'], 'apt-get cannot reach the mirror of this machine');
    run(
      'apt-get',
      ['install', '-y', '--no-install-recommends', ...packages],
      'debootstrap cannot be installed',
    );
  }
  say(`making a system with QEMU from ${QEMU_SUITE} (about a minute, once)`);
  const overTls = mirror.uri.startsWith('https:');
  // In a namespace of its own, as it mounts things while it works.
  run(
    'unshare',
    [
      '--mount',
      'debootstrap',
      '--variant=minbase',
      `--keyring=${mirror.keyring ?? KEYRING}`,
      ...(overTls ? ['--include=ca-certificates'] : []),
      SUITE,
      root,
      mirror.uri,
    ],
    `debootstrap cannot make a system from ${mirror.uri}, the mirror in the apt configuration of this machine`,
  );
  configureApt(root, mirror.uri);
  // The kernel's package would make an initramfs of its own, which nobody needs.
  const environment = ['env', 'DEBIAN_FRONTEND=noninteractive', 'INITRD=No'];
  const apt = (words: string[]) =>
    run('unshare', insideOf(root, [...environment, 'apt-get', ...words]), 'apt-get fails in the new system');
  apt(['update']);
  apt(['install', '-y', '--no-install-recommends', '-t', QEMU_SUITE, ...QEMU]);
  apt(['install', '-y', '--no-install-recommends', ...GUEST]);
  apt(['clean']);
}

/** The new system reaches the mirror as this machine does: by the same proxy, certificates, passwords and names. */
function configureApt(root: string, uri: string): void {
  const inRoot = (path: string) => join(root, path);
  writeFileSync(
    inRoot('etc/apt/sources.list'),
    [SUITE, QEMU_SUITE].map((suite) => `deb ${uri} ${suite} main\n`).join(''),
  );
  const settings = run('apt-config', ['dump'], 'apt-config does not work')
    .split('\n')
    .filter((line) => /^Acquire::(?!IndexTargets|Changelogs|CompressionTypes|cdrom)/.test(line));
  writeFileSync(inRoot('etc/apt/apt.conf.d/99machine'), `${settings.join('\n')}\n`);
  const logins = '/etc/apt/auth.conf.d';
  const passwords = existsSync(logins) ? readdirSync(logins).map((name) => `${logins}/${name}`) : [];
  for (const file of ['/etc/hosts', '/etc/resolv.conf', '/etc/apt/auth.conf', ...passwords]) {
    if (existsSync(file)) copyFileSync(file, inRoot(file));
  }
  const certificates = '/etc/ssl/certs/ca-certificates.crt';
  if (existsSync(certificates) && existsSync(inRoot(certificates)))
    copyFileSync(certificates, inRoot(certificates));
}

function existsOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, program)));
}

/** Runs a program to its end and gives what it printed; what it printed last is a part of the error. */
export function run(program: string, args: readonly string[], failure: string, input = ''): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    input,
    maxBuffer: 2 ** 28,
    env: { ...process.env, LC_ALL: 'C', ...proxy() },
  });
  if (error === undefined && status === 0) return stdout;
  const said = error?.message ?? `${stdout}${stderr}`.trim().split('\n').slice(-8).join('\n');
  throw new Error(`${failure}:\n${said}`);
}

/** debootstrap has only the environment to learn apt's proxy from. */
function proxy(): Record<string, string> {
  const { stdout } = spawnSync('apt-config', ['shell', 'proxy', 'Acquire::http::Proxy'], {
    encoding: 'utf8',
  });
  const [, url] = /^proxy='([^']+)'/.exec(stdout ?? '') ?? [];
  return url === undefined || url === 'DIRECT' ? {} : { http_proxy: url };
}

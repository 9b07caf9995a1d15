/** One run of a real guest in QEMU. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { insideOf, OUTSIDE } from './chroot.js';

/** What is between the guest's devices and its memory. */
export const IOMMUS = ['none', 'intel-iommu', 'virtio-iommu'] as const;
export type GuestIommu = (typeof IOMMUS)[number];

export interface MachineOptions {
  /** The folder that `prepareChroot` gave. */
  readonly root: string;
  readonly initramfs: Uint8Array;
  readonly iommu: GuestIommu;
  /** Whether servers get the guest's memory as file descriptors. */
  readonly sharedMemory: boolean;
  /** The guest can restart its machine; otherwise a restart ends it. */
  readonly reboot?: boolean;
  /** QEMU listens at `controlSocket`, and stays when the guest has switched its machine off. */
  readonly control?: boolean;
  /** More arguments of the guest's kernel. */
  readonly append?: string;
  /** How long QEMU waits for a server's answer, in milliseconds: 5000 of its own accord. */
  readonly messageTimeout?: number;
}

const MEMORY = '256M';
const LINE = ['console=ttyS1', 'panic=-1', 'quiet', 'no_timer_check'];
const KERNEL_ARGUMENTS: Record<GuestIommu, readonly string[]> = {
  none: [],
  'intel-iommu': ['intel_iommu=on'],
  'virtio-iommu': [],
};
/** An IOMMU is plugged in before the devices that it is for. */
const IOMMU_ARGUMENTS: Record<GuestIommu, readonly string[]> = {
  none: [],
  'intel-iommu': ['-device', 'intel-iommu,caching-mode=on'],
  'virtio-iommu': ['-device', 'virtio-iommu-pci,addr=02.0'],
};

/** How the run ended, and what was printed. */
export interface Ended {
  readonly status: number | null;
  /** What QEMU reported, without its warnings about the processor. */
  readonly reports: string;
  /** What the guest's kernel printed. */
  readonly console: string;
}

/**
 * A machine: made with a folder in which servers have their sockets, started when they listen, and gone with all that it
 * left when it is disposed of.
 */
export class Machine implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'iopt-'));
  /** Each line that the guest said, in order. */
  readonly said: string[] = [];
  readonly #options: MachineOptions;
  readonly #lines = new EventEmitter();
  #qemu: ChildProcessWithoutNullStreams | undefined;
  #ended: Promise<Ended> | undefined;
  #over = false;

  constructor(options: MachineOptions) {
    this.#options = options;
  }

  /** A place where a server can listen. */
  socket(name: string): string {
    return join(this.folder, `${name}.sock`);
  }

  /** Where QEMU can be told what to do, if that was asked for. */
  get controlSocket(): string {
    return this.socket('control');
  }

  /** QEMU's arguments, with one device for each socket. */
  command(sockets: readonly string[]): string[] {
    const {
      iommu,
      sharedMemory,
      reboot = false,
      control = false,
      append = '',
      messageTimeout,
    } = this.#options;
    const folder = `${OUTSIDE}${this.folder}`;
    const memory = ['-object', `memory-backend-memfd,id=mem,size=${MEMORY},share=on`];
    const devices = sockets.flatMap((socket) => [
      '-device',
      JSON.stringify({
        driver: 'vfio-user-pci',
        socket: { type: 'unix', path: `${OUTSIDE}${socket}` },
        ...(messageTimeout === undefined ? {} : { 'x-msg-timeout': messageTimeout }),
      }),
    ]);
    return [
      ...['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', MEMORY],
      ...['-M', sharedMemory ? 'q35,memory-backend=mem' : 'q35', ...(sharedMemory ? memory : [])],
      ...['-nodefaults', '-display', 'none', ...(reboot ? [] : ['-no-reboot'])],
      ...(control ? ['-no-shutdown', '-qmp', `unix:${OUTSIDE}${this.controlSocket},server=on,wait=off`] : []),
      ...['-serial', 'mon:stdio', '-serial', `file:${folder}/console`],
      ...['-kernel', '/vmlinuz', '-initrd', `${folder}/initramfs`],
      ...['-append', [...LINE, ...KERNEL_ARGUMENTS[iommu], append].join(' ').trimEnd()],
      ...IOMMU_ARGUMENTS[iommu],
      ...devices,
    ];
  }

  /** Switches the machine on. The servers of all sockets have to be listening. */
  start(sockets: readonly string[]): void {
    const qemu = spawn('setpriv', this.#inside(sockets));
    this.#qemu = qemu;
    let reports = '';
    qemu.stderr.setEncoding('utf8').on('data', (text: string) => (reports += text));
    createInterface({ input: qemu.stdout }).on('line', (text) => {
      const line = text.replaceAll('\r', '');
      if (!line.startsWith('> ')) return;
      this.said.push(line.slice(2));
      this.#lines.emit('line');
    });
    this.#ended = once(qemu, 'close').then(([status]: (number | null)[]) => {
      this.#over = true;
      this.#lines.emit('line');
      return { status: status ?? null, reports: withoutWarnings(reports), console: this.#console() };
    });
  }

  /** Switches the machine on with its first serial line at the terminal of this process; gives its exit status. */
  async attach(sockets: readonly string[]): Promise<number> {
    const qemu = spawn('setpriv', this.#inside(sockets), { stdio: 'inherit' });
    const [status] = (await once(qemu, 'close')) as [number | null];
    return status ?? 1;
  }

  /** The command that runs QEMU inside the system. QEMU is not left running when this process is killed. */
  #inside(sockets: readonly string[]): string[] {
    writeFileSync(join(this.folder, 'initramfs'), this.#options.initramfs);
    const inside = insideOf(this.#options.root, this.command(sockets));
    return ['--pdeathsig', 'KILL', 'unshare', ...inside];
  }

  /** The values that the guest said under a name. */
  answers(name: string): string[] {
    return this.said
      .filter((line) => line === name || line.startsWith(`${name} `))
      .map((line) => line.slice(name.length + 1));
  }

  /** Waits until the guest has said something under this name, `count` times; gives the last value. */
  async answer(name: string, count = 1): Promise<string> {
    for (;;) {
      const value = this.answers(name)[count - 1];
      if (value !== undefined) return value;
      if (this.#over) {
        const { reports, console } = await this.ended();
        throw new Error(
          `the guest ended without "${name}":\n${this.said.join('\n')}\n${reports}\n${console}`,
        );
      }
      await once(this.#lines, 'line');
    }
  }

  /** Writes a line to the guest's script. */
  tell(line: string): void {
    this.#qemu?.stdin.write(`${line}\n`);
  }

  /** Waits for the end of the run. */
  ended(): Promise<Ended> {
    if (this.#ended === undefined) throw new Error('the machine has not been started');
    return this.#ended;
  }

  #console(): string {
    const file = join(this.folder, 'console');
    return existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\r', '') : '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended !== undefined) {
      this.#qemu?.kill('SIGKILL');
      await this.#ended;
    }
    rmSync(this.folder, { recursive: true });
  }
}

/** Emulated processors lack features of `-cpu max`, of which each is reported. */
function withoutWarnings(reports: string): string {
  return reports.replaceAll(/^.*warning: TCG doesn't support requested feature.*\n/gm, '');
}

/** Random calls of `IommufdDevice`, against its invariants. */
import { ERRNO, IommuError } from '../../src/errors.js';
import { NoIommuDevice } from '../../src/iommufd/no-iommu.js';
import { DmaBufExporter } from '../../src/memory/dma-buf-exporter.js';
import { MemoryFile } from '../../src/memory/memory-file.js';
import { PROFILES } from '../../src/rules.js';
import { AccessFiles, testCommands } from '../../src/testing/index.js';
import {
  type CallerFile,
  COMMANDS,
  decode,
  FileTable,
  HWPT_ALLOC,
  IommufdDevice,
} from '../../src/uapi/index.js';
import { FuzzedProcess, PAGE, RAM, RAM_PAGES, ROM } from './processes.js';
import { Random } from './random.js';
import { type FuzzedRequest, fuzzedRequest, type Known } from './requests.js';

/** How to fuzz. */
export interface FuzzOptions {
  readonly calls: number;
  readonly seed: number;
  /** Called now and then with the number of calls made. */
  readonly progress?: (calls: number) => void;
}

/** What was done. */
export interface FuzzTotals {
  readonly calls: number;
  /** Machines that were used up. */
  readonly machines: number;
  /** Times that all invariants were checked. */
  readonly checks: number;
  /** Answers by errno; `OK` for successes. */
  readonly answers: ReadonlyMap<string, number>;
  /** Commands that succeeded at least once. */
  readonly succeeded: ReadonlySet<string>;
}

/** A call that did not end as it should. */
class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure';
}

const CODES = new Map<number, string>(Object.entries(ERRNO).map(([code, errno]) => [-errno, code]));
/** Calls that a machine is used for. */
const MACHINE_CALLS = 400;
/** Calls between two checks of all invariants. */
const CHECK_INTERVAL = 8;
/** Descriptors that a process can have. */
const MOST_DESCRIPTORS = 8;
/** Requests that a failure reports. */
const HISTORY = 12;
/** Turns of the event loop after which a call that depends on nothing but memory is stuck. */
const MOST_TURNS = 1000;

/**
 * Makes random calls.
 *
 * @throws FuzzFailure with the seed and the number of the call that threw, hung, leaked or broke an invariant.
 */
export async function fuzzUapi({ calls, seed, progress }: FuzzOptions): Promise<FuzzTotals> {
  const random = new Random(seed);
  const answers = new Map<string, number>();
  const succeeded = new Set<string>();
  let [made, machines, checks] = [0, 0, 0];
  while (made < calls) {
    const machine = new FuzzedMachine(random, answers, succeeded);
    machines += 1;
    const stop = Math.min(calls, made + MACHINE_CALLS);
    try {
      for (let turn = 0; made < stop; turn++) {
        made += await machine.turn(stop - made);
        if (turn % CHECK_INTERVAL === 0) {
          machine.check();
          checks += 1;
        }
      }
      machine.check();
      checks += 1;
      await machine.end();
      progress?.(made);
    } catch (error) {
      const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
      throw new FuzzFailure(
        `seed ${seed}, before call ${made + 1}: ${detail}\n${machine.history.join('\n')}`,
      );
    }
  }
  return { calls: made, machines, checks, answers, succeeded };
}

/** A machine with some processes that have some devices open. */
class FuzzedMachine {
  /** The latest requests, for the report. */
  readonly history: string[] = [];
  readonly #random: Random;
  readonly #answers: Map<string, number>;
  readonly #succeeded: Set<string>;
  readonly #parent: FuzzedProcess;
  readonly #processes: FuzzedProcess[];
  readonly #files = new AccessFiles();
  readonly #openFiles: number[] = [];
  /** The descriptors of each process. */
  readonly #descriptors = new Map<FuzzedProcess, FileTable>();
  readonly #devices: IommufdDevice[] = [];
  /** What calls of each device gave. */
  readonly #known = new Map<IommufdDevice, Known>();
  readonly #closed = new Set<IommufdDevice>();

  constructor(random: Random, answers: Map<string, number>, succeeded: Set<string>) {
    this.#random = random;
    this.#answers = answers;
    this.#succeeded = succeeded;
    this.#parent = FuzzedProcess.first(random);
    this.#processes = [this.#parent];
    this.#descriptors.set(this.#parent, new FileTable(MOST_DESCRIPTORS));
    for (let opened = 0; opened < 2; opened++) this.#openFile(this.#parent);
    this.#openDevice();
    if (random.chance(30)) this.#openDevice();
  }

  /** Lets some things happen, several of them at the same time now and then; gives the number of calls made. */
  async turn(most: number): Promise<number> {
    if (this.#random.chance(4)) await settled([this.#happen()]);
    const count = Math.min(most, this.#random.chance(12) ? 2 + this.#random.below(3) : 1);
    const calls = Array.from({ length: count }, (_, slot) => this.#call(slot));
    await settled(calls);
    return count;
  }

  /** @throws InvariantError */
  check(): void {
    for (const device of this.#devices) device.check();
  }

  /** Everything is closed, in any order. @throws FuzzFailure if something stays pinned or charged */
  async end(): Promise<void> {
    const ends = [
      ...this.#devices.map((device) => () => device.close()),
      ...Array.from({ length: MACHINE_CALLS }, (_, file) => () => this.#closeFile(file)),
    ];
    while (ends.length > 0) {
      const [end] = ends.splice(this.#random.below(ends.length), 1);
      await settled([end!()]);
    }
    const { physical, locked } = this.#parent.memory;
    if (physical.pinned !== 0) throw new FuzzFailure(`${physical.pinned} pins are left`);
    if (locked !== undefined && locked.user.lockedPages !== 0) {
      throw new FuzzFailure(`${locked.user.lockedPages} pages are charged to the user still`);
    }
    for (const { memory } of this.#processes) {
      const pages = memory.exited ? 0 : (memory.locked?.mm.lockedPages ?? 0);
      if (pages !== 0) throw new FuzzFailure(`${pages} pages are charged to a process still`);
    }
  }

  async #call(slot: number): Promise<void> {
    const random = this.#random;
    const [device, process] = [this.#anyDevice(), random.one(this.#processes)];
    const known = this.#known.get(device)!;
    const request = fuzzedRequest(random, known, slot);
    for (const { address, bytes } of request.data) process.poke(address, bytes);
    if (request.bytes !== undefined) process.poke(request.argument, request.bytes);
    const file = random.chance(1) ? random.below(4) : undefined;
    this.#note(`${describe(request)} to device ${this.#devices.indexOf(device)}`);
    const descriptors = this.#descriptors.get(process)!;
    const caller = {
      memory: process,
      file: (fd: number) => descriptors.get(fd),
      openFile: (opened: CallerFile) => descriptors.open(opened),
      ...(random.chance(20) ? { capable: () => random.chance(50) } : {}),
    };
    const answer = await device.ioctl(request.request, request.argument, file, caller);
    this.#count(request, answer, () => learn(request.name, process.peek(request.argument, 80), known));
  }

  /** Mostly one that is open. */
  #anyDevice(): IommufdDevice {
    const open = this.#devices.filter((device) => !this.#closed.has(device));
    return this.#random.one(this.#random.chance(98) ? open : this.#devices);
  }

  #count(request: FuzzedRequest, answer: number, learnFromIt: () => void): void {
    const code = answer >= 0 ? 'OK' : CODES.get(answer);
    if (!Number.isInteger(answer) || code === undefined || answer > 1) {
      throw new FuzzFailure(`${describe(request)} gave ${answer}`);
    }
    this.#answers.set(code, (this.#answers.get(code) ?? 0) + 1);
    if (answer < 0 || request.name === 'noise' || request.name === 'value') return;
    if (request.request === COMMANDS[request.name].request) this.#succeeded.add(request.name);
    learnFromIt();
  }

  /** Something that is no ioctl. */
  async #happen(): Promise<void> {
    const random = this.#random;
    const process = random.one(this.#processes);
    const at = RAM + BigInt(random.below(Number(RAM_PAGES))) * PAGE;
    const length = BigInt(1 + random.below(3)) * PAGE;
    switch (random.below(12)) {
      case 0: {
        if (this.#processes.length === 4) break;
        const child = this.#parent.fork();
        this.#processes.push(child);
        this.#descriptors.set(child, this.#descriptors.get(this.#parent)!.fork());
        break;
      }
      case 8:
        this.#openFile(process);
        break;
      case 9: {
        const fd = random.below(MOST_DESCRIPTORS);
        const descriptors = this.#descriptors.get(process)!;
        if (descriptors.get(fd) !== undefined) descriptors.close(fd);
        break;
      }
      case 10:
        await this.#changeFile(process);
        break;
      case 11:
        await this.#moveNoIommuDevice();
        break;
      case 1:
        if (process !== this.#parent) process.memory.exit();
        break;
      case 2:
        if (this.#devices.length < 4) this.#openDevice();
        break;
      case 3: {
        const device = random.one(this.#devices);
        // One is left open: with none the rest of the calls would be wasted.
        if (this.#devices.length - this.#closed.size < 2) break;
        this.#closed.add(device);
        await device.close();
        break;
      }
      case 4:
        if (!process.exited && at + length <= ROM) process.memory.protect(at, length, random.chance(70));
        break;
      case 5:
        if (!process.exited && at + length <= ROM) {
          process.memory.munmap(at, length);
          process.memory.mmap({ uptr: at, length });
        }
        break;
      default:
        await random.one(this.#devices).closeFile(random.below(6));
    }
  }

  /** Opens a file or a dma-buf, unless all descriptors are taken. */
  #openFile(process: FuzzedProcess): void {
    const random = this.#random;
    const descriptors = this.#descriptors.get(process)!;
    const numbers = Array.from({ length: MOST_DESCRIPTORS }, (_, fd) => fd);
    if (!numbers.some((fd) => descriptors.get(fd) === undefined)) return;
    const { physical } = process.memory;
    const size = (1 + random.below(16)) * Number(PAGE);
    if (random.chance(60)) {
      const kind = random.one(['memfd', 'memfd', 'tmpfs'] as const);
      descriptors.open({
        kind: 'file',
        file: new MemoryFile({ physical, size: size - random.below(100), kind }),
      });
    } else {
      descriptors.open({ kind: 'dma-buf', file: new DmaBufExporter({ physical, size }) });
    }
  }

  /** A file gets another size, or a dma-buf is taken back. */
  async #changeFile(process: FuzzedProcess): Promise<void> {
    const random = this.#random;
    const opened = this.#descriptors.get(process)!.get(random.below(MOST_DESCRIPTORS))?.file;
    if (opened instanceof MemoryFile) opened.truncate(random.below(16 * Number(PAGE)));
    if (!(opened instanceof DmaBufExporter)) return;
    if (opened.revoked) opened.restore();
    else await opened.revoke();
  }

  /** A device without IOMMU is attached to an address space, moved, or detached. */
  async #moveNoIommuDevice(): Promise<void> {
    const random = this.#random;
    const device = random.one(this.#devices);
    if (this.#closed.has(device)) return;
    const known = this.#known.get(device)!;
    const accepted = (error: unknown) => {
      if (!(error instanceof IommuError)) throw error;
    };
    if (known.noIommu === undefined || random.chance(10)) {
      const bound = device.iommufd.deviceBind(new NoIommuDevice());
      known.noIommu = (await bound.catch(accepted)) ?? known.noIommu;
    }
    const { noIommu } = known;
    const ioas = known.ioas.at(-1) ?? 0;
    const detaches = random.chance(30);
    if (noIommu?.hwpt === undefined) await noIommu?.attach(ioas).catch(accepted);
    else if (detaches) await noIommu.detach().catch(accepted);
    else await noIommu.replace(ioas).catch(accepted);
  }

  /** Closes a file through a device that knows it: those without test commands know none. */
  async #closeFile(file: number): Promise<void> {
    for (const device of this.#devices) if ((await device.closeFile(file)) === 0) return;
  }

  #openDevice(): void {
    const device = new IommufdDevice({
      memory: this.#random.one(this.#processes),
      commands: this.#random.chance(98) ? testCommands({ files: this.#files }) : undefined,
      accounting: this.#random.one(['user', 'mm']),
      profile: this.#random.chance(50) ? 'linux' : this.#random.one(PROFILES),
      noIommu: this.#random.chance(50),
    });
    const files = this.#openFiles;
    this.#devices.push(device);
    this.#known.set(device, {
      ioas: [],
      hwpts: [],
      parents: [],
      viommus: [],
      devices: [],
      testDevices: [],
      files,
      areas: [],
      noIommu: undefined,
    });
  }

  #note(what: string): void {
    this.history.push(what);
    if (this.history.length > HISTORY) this.history.shift();
  }
}

/** Keeps what a success gave. */
function learn(name: FuzzedRequest['name'], bytes: Uint8Array, known: Known): void {
  switch (name) {
    case 'IOAS_ALLOC':
      known.ioas.push(decode(name, bytes).outIoasId);
      break;
    case 'IOAS_MAP': {
      const { ioasId, iova, length, userVa } = decode(name, bytes);
      known.areas.push({ ioas: ioasId, iova, length, uptr: userVa });
      break;
    }
    case 'IOAS_COPY': {
      const { dstIoasId, dstIova, length } = decode(name, bytes);
      known.areas.push({ ioas: dstIoasId, iova: dstIova, length, uptr: RAM });
      break;
    }
    case 'IOAS_MAP_FILE': {
      const { ioasId, iova, length } = decode(name, bytes);
      known.areas.push({ ioas: ioasId, iova, length, uptr: RAM });
      break;
    }
    case 'HWPT_ALLOC': {
      const { outHwptId, flags } = decode(name, bytes);
      known.hwpts.push(outHwptId);
      if ((flags & HWPT_ALLOC.NEST_PARENT) !== 0) known.parents.push(outHwptId);
      break;
    }
    case 'VIOMMU_ALLOC':
      known.viommus.push(decode(name, bytes).outViommuId);
      break;
    case 'TEST_MOCK_DOMAIN':
    case 'TEST_MOCK_DOMAIN_FLAGS': {
      const { outStdevId, outHwptId, outIdevId } = decode(name, bytes);
      known.testDevices.push(outStdevId);
      known.hwpts.push(outHwptId);
      known.devices.push(outIdevId);
      break;
    }
    case 'TEST_CREATE_ACCESS':
      known.files.push(decode(name, bytes).outAccessFd);
      break;
  }
}

function describe({ name, request, argument, bytes }: FuzzedRequest): string {
  const struct = bytes === undefined ? '' : ` ${Buffer.from(bytes.subarray(0, 96)).toString('hex')}`;
  return `${name} 0x${request.toString(16)} at 0x${argument.toString(16)}${struct}`;
}

/** Waits for calls that depend on nothing but each other. @throws FuzzFailure if one of them never ends */
async function settled(calls: readonly Promise<unknown>[]): Promise<void> {
  let turn: NodeJS.Immediate | undefined;
  const stuck = new Promise<never>((_resolve, reject) => {
    const wait = (turns: number) => {
      turn = setImmediate(() => {
        if (turns > MOST_TURNS) reject(new FuzzFailure('a call does not end'));
        else wait(turns + 1);
      });
    };
    wait(0);
  });
  try {
    await Promise.race([Promise.all(calls), stuck]);
  } finally {
    clearImmediate(turn);
  }
}

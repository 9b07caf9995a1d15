/** A hostile client against a server in the same process. */
import { mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { loadNative, type Native } from '../../src/native/native.js';
import { headerOf } from '../../src/vfio-user/client-requests.js';
import { FrameReader } from '../../src/vfio-user/frame-reader.js';
import { PciDevice } from '../../src/vfio-user/pci-device.js';
import { COMMAND, DEVICE_INFO, DMA_ACCESS, REGION, REGION_ACCESS } from '../../src/vfio-user/protocol.js';
import { serve } from '../../src/vfio-user/server.js';
import { Random } from '../fuzz-uapi/random.js';
import { type HostileMessage, randomMessage, TEXTS, versionOf } from './messages.js';

/** What to do. */
export interface FuzzOptions {
  readonly messages: number;
  readonly seed: number;
  /** Told after each connection how many messages were sent. */
  readonly progress?: (sent: number) => void;
}

/** What was done. */
export interface FuzzTotals {
  readonly messages: number;
  readonly connections: number;
  /** Answers without an error. */
  readonly answered: number;
  /** Answers with an error, by errno. */
  readonly refused: ReadonlyMap<number, number>;
  /** Connections that the server has closed. */
  readonly closed: number;
  /** Bytes of the process at the most. */
  readonly peakResident: number;
}

/** The server must have answered within that many milliseconds. */
const PATIENCE_MS = 10_000;
/** More than that is no bounded memory. */
const MOST_RESIDENT = 1.5 * 2 ** 30;
const MESSAGES_A_CONNECTION = 400;
const MESSAGES_A_BATCH = 40;
const LAST_ID = 0xbeef;
/** Switches DMA on: bus mastering, in the command register. */
const BUS_MASTER = Buffer.concat([
  headerOf(1, COMMAND.REGION_WRITE, 18, 0),
  REGION_ACCESS.encode({ offset: 4, region: REGION.CONFIG, count: 2 }),
  Uint8Array.of(6, 0),
]);

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** A device that does DMA with whatever it is told, in all ways. */
function device(): PciDevice {
  const failed = () => undefined;
  const made = new PciDevice({
    vendor: 0x1234,
    device: 0x11e9,
    class: 0xff0000,
    bars: {
      0: {
        size: 0x1000,
        read: (offset) => offset,
        write: (offset, _width, value) => {
          const iova = (value & 0xff) * 4096 + offset;
          const bytes = new Uint8Array(1 + (value & 0x1fff));
          if ((offset & 4) === 0) made.dma.read(iova, bytes).catch(failed);
          else made.dma.write(iova, bytes).catch(failed);
          if (value % 3 === 0) made.interrupt(0);
        },
      },
      2: { size: 0x4000, memory: [{ offset: 0x1000, size: 0x1000 }] },
    },
    intx: 'A',
    msi: { vectors: 4 },
    msix: { vectors: 4, bar: 1 },
    express: true,
    saveState: () => new Uint8Array(3000),
    loadState: () => undefined,
  });
  made.on('error', () => undefined);
  return made;
}

/** What a connection has to do with the descriptors that it sends. */
class Chest {
  readonly #native: Native;
  readonly #makers: readonly (() => number)[];

  constructor(native: Native) {
    this.#native = native;
    this.#makers = [
      () => native.memfd('fuzz', 0x8000),
      () => native.memfd('fuzz', 100),
      () => native.memfd('fuzz', 2n ** 62n),
      () => native.eventfd(),
      () => openSync('/dev/null', 'r+'),
      () => openSync('/proc/self/cmdline', 'r'),
      () => {
        const [one, other] = native.socketPair();
        native.close(other);
        return one;
      },
    ];
  }

  /** Opens some, for as long as `use` runs. */
  with<T>(count: number, random: Random, use: (descriptors: readonly number[]) => T): T {
    const descriptors = Array.from({ length: count }, () => random.one(this.#makers)());
    try {
      return use(descriptors);
    } finally {
      for (const each of descriptors) this.#native.close(each);
    }
  }
}

/** One connection of the hostile client. */
class Hostile {
  readonly #native: Native;
  readonly #socket: number;
  readonly #chest: Chest;
  readonly #random: Random;
  readonly #frames = new FrameReader(2 ** 22);
  readonly #buffer = new Uint8Array(2 ** 16);
  readonly refused = new Map<number, number>();
  answered = 0;
  /** Whether the server has closed the connection. */
  closed = false;
  #lastAnswered = false;

  constructor(native: Native, socket: number, chest: Chest, random: Random) {
    this.#native = native;
    this.#socket = socket;
    this.#chest = chest;
    this.#random = random;
  }

  /** Sends bytes; `false` if the server does not take them any more, or there is no room and nobody reads. */
  async #send(bytes: Uint8Array, reads: boolean): Promise<boolean> {
    for (let sent = 0, idle = 0; sent < bytes.length; ) {
      const more = this.#trySend(bytes.subarray(sent));
      if (more === undefined) return false;
      sent += more;
      idle = more > 0 ? 0 : idle + 1;
      if (more > 0) continue;
      if (!reads && idle > 50) return false;
      if (reads) this.read();
      if (this.closed) return false;
      if (idle > 100_000) throw new Error('the server takes nothing any more');
      await turn();
    }
    return true;
  }

  #trySend(bytes: Uint8Array): number | undefined {
    try {
      return this.#native.send(this.#socket, bytes);
    } catch {
      this.closed = true;
      return undefined;
    }
  }

  /** Sends a message with its descriptors. */
  async message({ bytes, descriptors }: HostileMessage, reads: boolean): Promise<boolean> {
    if (descriptors === 0) return await this.#send(bytes, reads);
    const sent = this.#chest.with(descriptors, this.#random, (list) => {
      try {
        return this.#native.sendWith(this.#socket, bytes.subarray(0, 16), list);
      } catch {
        this.closed = true;
        return undefined;
      }
    });
    if (sent === undefined) return false;
    return await this.#send(bytes.subarray(sent), reads);
  }

  /** Reads what is there, and answers what the server asks. */
  read(): void {
    while (!this.closed) {
      let length: number | undefined;
      try {
        length = this.#native.receive(this.#socket, this.#buffer);
      } catch {
        length = 0;
      }
      if (length === undefined) return;
      if (length === 0) {
        this.closed = true;
        return;
      }
      this.#frames.push(this.#buffer.slice(0, length));
      for (let frame = this.#frames.next(); frame !== undefined; frame = this.#frames.next()) {
        const { id, command, flags, error } = frame.header;
        if ((flags & 1) === 0) this.#serve(id, command, frame.payload);
        else if (error === 0) this.answered++;
        else this.refused.set(error, (this.refused.get(error) ?? 0) + 1);
        if (id === LAST_ID && command === COMMAND.DEVICE_GET_INFO && (flags & 1) === 1)
          this.#lastAnswered = true;
      }
    }
  }

  /** Answers a DMA command rightly, wrongly, or not at all. */
  #serve(id: number, command: number, payload: Uint8Array): void {
    const random = this.#random;
    if (random.chance(20)) return;
    const { count } = DMA_ACCESS.decode(payload);
    const data = command === COMMAND.DMA_READ ? new Uint8Array(Number(count)) : new Uint8Array(0);
    const body = Buffer.concat([payload.subarray(0, DMA_ACCESS.length), data]);
    const reply = random.chance(10)
      ? headerOf(id, command, 0, 0x21, 14)
      : Buffer.concat([
          headerOf(random.chance(99) ? id : random.below(65_536), command, body.length, 1),
          body,
        ]);
    // What does not go out at once would cut the stream for all that follows.
    const sent = this.#trySend(reply);
    if (sent !== undefined && sent < reply.length) this.closed = true;
  }

  /** Waits until the server has come to the end of what was sent. @throws Error if it does not */
  async settle(): Promise<void> {
    this.#lastAnswered = false;
    const last = Buffer.concat([
      headerOf(LAST_ID, COMMAND.DEVICE_GET_INFO, 16, 0),
      DEVICE_INFO.encode({ argsz: 16 }),
    ]);
    // Behind a message with a wrong size it may be taken for a part of that: nothing comes then.
    const until = performance.now() + 100;
    if (!(await this.#send(last, true))) return;
    while (!this.#lastAnswered && !this.closed && performance.now() < until) {
      this.read();
      await turn();
    }
  }

  close(): void {
    this.#native.close(this.#socket);
  }
}

/** Sends so many random messages to a server. @throws Error if it leaks, hangs, or breaks */
export async function fuzzVfioUser({ messages, seed, progress }: FuzzOptions): Promise<FuzzTotals> {
  const random = new Random(seed);
  const native = await loadNative('the fuzzer');
  const chest = new Chest(native);
  const folder = mkdtempSync(join(tmpdir(), 'iopt-fuzz-'));
  const socket = join(folder, 'socket');
  const before = openDescriptors();
  const target = device();
  const server = await serve(target, { socket, descriptors: 'always' });
  const served = openDescriptors();
  const refused = new Map<number, number>();
  let [sent, connections, answered, closed, peakResident] = [0, 0, 0, 0, 0];
  try {
    while (sent < messages) {
      const descriptor = native.connect(socket);
      if (descriptor === undefined) {
        await turn();
        continue;
      }
      const peer = new Hostile(native, descriptor, chest, random);
      connections++;
      const reads = !random.chance(5);
      const text = random.chance(90) ? TEXTS[0]! : random.one(TEXTS);
      let goes = await peer.message({ bytes: versionOf(text), descriptors: 0 }, reads);
      if (random.chance(80)) goes = await peer.message({ bytes: BUS_MASTER, descriptors: 0 }, reads);
      await turn();
      const most = Math.min(messages - sent, 1 + random.below(2 * MESSAGES_A_CONNECTION));
      for (let left = most; left > 0 && goes && !peer.closed; ) {
        for (let batch = Math.min(left, 1 + random.below(MESSAGES_A_BATCH)); batch > 0 && goes; batch--) {
          goes = await peer.message(randomMessage(random), reads);
          sent++;
          left--;
        }
        if (reads) peer.read();
        await turn();
      }
      if (reads && random.chance(80)) await peer.settle();
      target.dma.table?.check();
      if (peer.closed) closed++;
      answered += peer.answered;
      for (const [errno, count] of peer.refused) refused.set(errno, (refused.get(errno) ?? 0) + count);
      peer.close();
      await idle(target, served);
      peakResident = Math.max(peakResident, process.memoryUsage.rss());
      if (peakResident > MOST_RESIDENT) throw new Error(`${peakResident} bytes are resident`);
      progress?.(sent);
    }
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
  await until(
    () => openDescriptors() <= before,
    () => `${openDescriptors()} descriptors are open, not ${before}`,
  );
  return { messages: sent, connections, answered, refused, closed, peakResident };
}

/** Waits until the server has noticed that its client has gone, and holds nothing of it. */
async function idle(target: PciDevice, served: number): Promise<void> {
  await until(
    () => !target.connected && openDescriptors() <= served,
    () => `the client has gone, and ${openDescriptors()} descriptors are open, not ${served}`,
  );
}

async function until(done: () => boolean, problem: () => string): Promise<void> {
  const last = performance.now() + PATIENCE_MS;
  while (!done()) {
    if (performance.now() > last) throw new Error(problem());
    await turn();
  }
}

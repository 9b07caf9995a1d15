/** A client that sends what it is told to, right or wrong, and shows every message that comes. */
import { connect, type Socket } from 'node:net';
import { FrameReader } from '../../src/vfio-user/frame-reader.js';
import {
  COMMAND,
  DMA_ACCESS,
  DMA_MAP,
  DMA_UNMAP,
  HEADER,
  HEADER_SIZE,
  MESSAGE_FLAG,
  REGION,
  REGION_ACCESS,
  VERSION,
} from '../../src/vfio-user/protocol.js';
import type { Message } from '../../src/vfio-user/transport.js';

/** A reply: its errno (0: none) and its payload. */
export interface Reply {
  readonly error: number;
  readonly payload: Uint8Array;
}

const VERSION_JSON = '{"capabilities":{"max_data_xfer_size":1048576,"max_msg_fds":16}}\0';

/** A client over a bare socket. It answers the server's DMA out of `memory`, while `answers` is on. */
export class RawClient {
  readonly socket: Socket;
  /** What DMA_READ and DMA_WRITE reach: address 0 and after. */
  readonly memory = new Uint8Array(2 ** 20);
  /** The server's commands, in order. */
  readonly asked: Message[] = [];
  /** Writes that missed the memory: interrupts, by address and data. */
  readonly messages: { readonly address: bigint; readonly data: number }[] = [];
  /** Whether the server's commands are answered at once. */
  answers = true;
  readonly closed: Promise<void>;
  readonly #frames = new FrameReader(2 ** 22);
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #news: (() => void)[] = [];
  #nextId = 0;
  isClosed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      this.#frames.push(chunk);
      for (let frame = this.#frames.next(); frame !== undefined; frame = this.#frames.next()) {
        this.#receive({ ...frame, descriptors: [] });
      }
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.isClosed = true;
        for (const settle of this.#waiting.values()) settle({ error: -1, payload: new Uint8Array(0) });
        this.#waiting.clear();
        this.#tell();
        resolve();
      });
    });
  }

  /** Connects and says what it can do. */
  static async open(path: string, json = VERSION_JSON): Promise<RawClient> {
    const client = await RawClient.connect(path);
    const reply = await client.version(json);
    if (reply.error !== 0) throw new Error(`VERSION: errno ${reply.error}`);
    return client;
  }

  /** Connects, and says nothing. */
  static connect(path: string): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RawClient(socket)));
    });
  }

  #receive(message: Message): void {
    const { header, payload } = message;
    if ((header.flags & MESSAGE_FLAG.TYPE) === MESSAGE_FLAG.REPLY) {
      const settle = this.#waiting.get(header.id);
      this.#waiting.delete(header.id);
      settle?.({ error: (header.flags & MESSAGE_FLAG.ERROR) === 0 ? 0 : header.error, payload });
    } else {
      this.asked.push(message);
      if (this.answers) this.answer(message);
    }
    this.#tell();
  }

  #tell(): void {
    for (const news of this.#news.splice(0)) news();
  }

  /** Waits until something is so, looking again after each message. */
  async until(so: () => boolean): Promise<void> {
    while (!so()) {
      if (this.isClosed) throw new Error('closed before it was so');
      await new Promise<void>((resolve) => this.#news.push(resolve));
    }
  }

  /** Answers a command of the server. */
  answer({ header, payload }: Message): void {
    const { address, count } = DMA_ACCESS.decode(payload);
    const [from, size] = [Number(address), Number(count)];
    const data = payload.subarray(DMA_ACCESS.length);
    if (from + size > this.memory.length) {
      if (header.command === COMMAND.DMA_WRITE && size === 4) {
        this.messages.push({ address, data: new DataView(data.buffer, data.byteOffset).getUint32(0, true) });
        this.reply(header.id, header.command, payload.slice(0, DMA_ACCESS.length));
      } else this.reply(header.id, header.command, new Uint8Array(0), 14);
      return;
    }
    if (header.command === COMMAND.DMA_WRITE) {
      this.memory.set(data, from);
      this.reply(header.id, header.command, payload.slice(0, DMA_ACCESS.length));
    } else {
      this.reply(header.id, header.command, join(payload, this.memory.slice(from, from + size)));
    }
  }

  reply(id: number, command: number, payload: Uint8Array, error = 0): void {
    const flags = error === 0 ? MESSAGE_FLAG.REPLY : MESSAGE_FLAG.REPLY | MESSAGE_FLAG.ERROR;
    const header = HEADER.encode({ id, command, size: HEADER_SIZE + payload.length, flags, error });
    this.socket.write(join(header, payload));
  }

  /** A message as bytes. */
  encode(
    command: number,
    payload: Uint8Array,
    flags = 0,
  ): { readonly id: number; readonly bytes: Uint8Array } {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    return {
      id,
      bytes: join(HEADER.encode({ id, command, size: HEADER_SIZE + payload.length, flags }), payload),
    };
  }

  /** Sends a command and waits for its reply; errno −1 if the connection is closed before. */
  call(command: number, payload: Uint8Array = new Uint8Array(0)): Promise<Reply> {
    const { id, bytes } = this.encode(command, payload);
    if (this.isClosed) return Promise.resolve({ error: -1, payload: new Uint8Array(0) });
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.socket.write(bytes);
    });
  }

  /** Sends a command that wants no reply. */
  post(command: number, payload: Uint8Array): void {
    this.socket.write(this.encode(command, payload, MESSAGE_FLAG.NO_REPLY).bytes);
  }

  version(json = VERSION_JSON, major = 0, minor = 0): Promise<Reply> {
    return this.call(COMMAND.VERSION, join(VERSION.encode({ major, minor }), new TextEncoder().encode(json)));
  }

  async map(
    address: bigint | number,
    size: bigint | number,
    flags = 3,
    offset: bigint | number = 0,
  ): Promise<number> {
    const reply = await this.call(
      COMMAND.DMA_MAP,
      DMA_MAP.encode({ argsz: 32, flags, offset, address, size }),
    );
    return reply.error;
  }

  async unmap(address: bigint | number, size: bigint | number, flags = 0): Promise<number> {
    const payload = DMA_UNMAP.encode({ argsz: 24, flags, address, size });
    const reply = await this.call(COMMAND.DMA_UNMAP, payload);
    if (reply.error === 0 && !Buffer.from(reply.payload).equals(payload))
      throw new Error('another unmap was answered');
    return reply.error;
  }

  readRegion(region: number, offset: number, count: number): Promise<Reply> {
    return this.call(COMMAND.REGION_READ, REGION_ACCESS.encode({ offset, region, count }));
  }

  writeRegion(region: number, offset: number, data: Uint8Array): Promise<Reply> {
    return this.call(
      COMMAND.REGION_WRITE,
      join(REGION_ACCESS.encode({ offset, region, count: data.length }), data),
    );
  }

  /** A register. @throws if it cannot be read */
  async get(region: number, offset: number, width: 1 | 2 | 4 = 4): Promise<number> {
    const { error, payload } = await this.readRegion(region, offset, width);
    if (error !== 0) throw new Error(`read ${region} + ${offset}: errno ${error}`);
    return Number(littleEndian(payload.subarray(REGION_ACCESS.length)));
  }

  /** Writes a register. @throws if it cannot be written */
  async set(region: number, offset: number, value: number, width: 1 | 2 | 4 = 4): Promise<void> {
    const { error } = await this.writeRegion(region, offset, bytesOf(value, width));
    if (error !== 0) throw new Error(`write ${region} + ${offset}: errno ${error}`);
  }

  /** Writes a register as guests do: nobody waits. */
  postRegister(region: number, offset: number, value: number, width: 1 | 2 | 4 = 4): void {
    const access = REGION_ACCESS.encode({ offset, region, count: width });
    this.post(COMMAND.REGION_WRITE, join(access, bytesOf(value, width)));
  }

  /** Memory decoding, and bus mastering. */
  async enable(): Promise<void> {
    await this.set(REGION.CONFIG, 4, 6, 2);
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

export function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

export function bytesOf(value: number, width: number): Uint8Array {
  return Uint8Array.from({ length: width }, (_, at) => Math.floor(value / 256 ** at) & 0xff);
}

export function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const [at, byte] of bytes.entries()) value |= BigInt(byte) << BigInt(8 * at);
  return value;
}

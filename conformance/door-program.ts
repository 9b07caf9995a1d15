/** A process that uses the binary door as a C program does: structs in its memory, and their addresses. */
import { ERRNO, type ErrorCode, type IommuError, refuse } from '../src/errors.js';
import type { Caller } from '../src/iommufd/caller.js';
import type { MemoryRegion } from '../src/memory/memory-region.js';
import type { ProcessMemory } from '../src/memory/process-memory.js';
import {
  COMMANDS,
  type CommandFields,
  type CommandInput,
  type CommandName,
  decode,
  encode,
  type IommufdDevice,
} from '../src/uapi/index.js';

const CODES = new Map<number, ErrorCode>(
  Object.entries(ERRNO).map(([code, errno]) => [errno, code as ErrorCode]),
);
const STRUCT_ROOM = 0x10_0000n;
/** Bytes of the buffer beside the structs: what an access may transfer at once. */
const BUFFER_LENGTH = 16 * 1024 * 1024;

/** What a command did: its struct afterwards, and how it failed if it did. */
export interface Outcome<N extends CommandName> {
  readonly fields: CommandFields<N>;
  /** The struct itself, with what is behind it. */
  readonly bytes: Uint8Array;
  readonly error: IommuError | undefined;
}

/** The process. Its structs and its buffer lie where no trace looks. */
export class DoorProgram {
  readonly device: IommufdDevice;
  readonly memory: ProcessMemory;
  readonly #room: MemoryRegion;
  readonly #caller: Caller | undefined;

  /** @param caller - who calls, where it is another process than the one that opened the device */
  constructor(device: IommufdDevice, memory: ProcessMemory, caller?: Caller) {
    this.device = device;
    this.memory = memory;
    this.#caller = caller;
    this.#room = memory.mmap({ length: STRUCT_ROOM + BigInt(BUFFER_LENGTH), sparse: true });
  }

  /** Address of the buffer. */
  get buffer(): bigint {
    return this.#room.uptr + STRUCT_ROOM;
  }

  /** Bytes of the buffer. */
  get bufferLength(): number {
    return BUFFER_LENGTH;
  }

  /** The first bytes of the buffer. */
  readBuffer(length: number): Uint8Array {
    return this.memory.read(this.buffer, length);
  }

  /** Writes into the buffer, from its start on. */
  writeBuffer(bytes: Uint8Array): void {
    this.memory.write(this.buffer, bytes);
  }

  /** Issues a command and gives its struct as it came back. */
  async issue<N extends CommandName>(command: N, fields: CommandInput<N>): Promise<Outcome<N>> {
    const { uptr } = this.#room;
    const before = encode(command, fields);
    this.memory.write(uptr, before);
    const answer = await this.device.ioctl(COMMANDS[command].request, uptr, undefined, this.#caller);
    const bytes = this.memory.read(uptr, before.length);
    return { fields: decode(command, bytes), bytes, error: errorOf(answer) };
  }

  /**
   * Issues a command that has to succeed.
   *
   * @throws the IommuError that it failed with; an Error if a failure changed the struct.
   */
  async call<N extends CommandName>(command: N, fields: CommandInput<N>): Promise<CommandFields<N>> {
    const outcome = await this.issue(command, fields);
    if (outcome.error === undefined) return outcome.fields;
    if (Buffer.compare(outcome.bytes, encode(command, fields)) !== 0) {
      throw new Error(`${command} failed with ${outcome.error.code}, but its struct has changed`);
    }
    throw outcome.error;
  }

  /** Issues a call whose argument is a plain value. @throws the IommuError that it failed with */
  async callWithValue(request: number, value: number): Promise<number> {
    const answer = await this.device.ioctl(request, BigInt(value));
    const error = errorOf(answer);
    if (error !== undefined) throw error;
    return answer;
  }
}

function errorOf(answer: number): IommuError | undefined {
  if (answer >= 0) return undefined;
  const code = CODES.get(-answer);
  if (code === undefined) throw new Error(`the answer is ${answer}, which is no errno`);
  return refuse(code, 'state', 'the door gave no reason');
}

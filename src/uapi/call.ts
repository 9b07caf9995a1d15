/** One call of a command: its struct as it was read, its caller, and the way to answer. */
import { refuse } from '../errors.js';
import type { Command } from './command-row.js';
import type { DeviceCaller } from './device-caller.js';
import type { Answer, Decoded, Fields } from './struct.js';
import { noAccess, type UserSpace } from './user-space.js';

/** Who calls, and what was given as the argument. */
export interface Arrival {
  readonly caller: DeviceCaller;
  /** The caller's memory. */
  readonly user: UserSpace;
  /** The argument: an address in that memory, or a plain value. */
  readonly argument: bigint;
}

/** The bytes of a struct from the caller's memory; what the caller did not have is zero. */
export interface Body {
  /** At least as long as the struct is known. */
  readonly bytes: Uint8Array;
  /** Bytes that were read. */
  readonly length: number;
}

/** A command with its fields. */
export class Call<F extends Fields> implements Arrival {
  readonly caller: DeviceCaller;
  readonly user: UserSpace;
  readonly argument: bigint;
  readonly fields: Decoded<F>;
  readonly #command: Command<F>;
  readonly #body: Body;

  constructor(command: Command<F>, arrival: Arrival, body: Body) {
    this.caller = arrival.caller;
    this.user = arrival.user;
    this.argument = arrival.argument;
    this.#command = command;
    this.#body = body;
    this.fields = this.#command.struct.decode(body.bytes);
  }

  /** @throws EOPNOTSUPP if a reserved field is not zero. */
  refuseReserved(): void {
    const name = this.#command.struct.reservedInUse(this.#body.bytes);
    if (name !== undefined) throw refuse('EOPNOTSUPP', 'unsupported', `reserved field ${name} is not zero`);
  }

  /**
   * Writes the struct back, as long as it was read: what was read, and the answer.
   *
   * @throws EFAULT if it cannot be written.
   */
  respond(answer: Answer<F>): void | Promise<void> {
    const { bytes, length } = this.#body;
    this.#command.struct.write(bytes, answer);
    return this.user.write(this.argument, bytes, length);
  }

  /** What is written into the struct, which is written back then, also if the command fails. */
  get failureAnswer(): Answer<F> | undefined {
    return this.#command.failureAnswer;
  }
}

/** Bytes of a tail that are looked at in one go. */
const TAIL_CHUNK = 65_536;

/**
 * Reads the struct of a command by the kernel's rules for structs that grow: fields that the caller does not know are
 * zero, and those that the kernel does not know must be.
 *
 * @param bytes - zeroes, to be filled
 * @param size - the struct's first field, which has been read before
 * @throws EINVAL if the struct is too short, E2BIG if there is something in what is not known, EFAULT if it cannot be
 * read.
 */
export async function readSized(
  command: Command<Fields>,
  { user, argument }: Arrival,
  bytes: Uint8Array,
  size: number,
): Promise<Body> {
  if (size < command.least) {
    throw refuse('EINVAL', 'argument', `the struct has ${size} bytes; the least are ${command.least}`);
  }
  const known = command.struct.length;
  if (size > known) await requireZeroes(user, argument + BigInt(known), size - known);
  const length = Math.min(size, known);
  await user.read(argument, bytes, length);
  return { bytes, length };
}

/** @throws E2BIG at the first byte that is not zero, EFAULT at one that cannot be read. */
async function requireZeroes(user: UserSpace, address: bigint, length: number): Promise<void> {
  for (let at = 0; at < length; at += TAIL_CHUNK) {
    const count = Math.min(TAIL_CHUNK, length - at);
    const words = new Uint32Array(Math.ceil(count / 4));
    const readable = await user.readUpTo(address + BigInt(at), new Uint8Array(words.buffer, 0, count));
    if (words.some((word) => word !== 0)) {
      throw refuse('E2BIG', 'unsupported', 'the struct has something in fields that are not known');
    }
    if (readable < count) throw noAccess(address + BigInt(at + readable));
  }
}

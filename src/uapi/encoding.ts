/** The structs of commands as bytes, for programs that talk to a real device. */
import { checkObject, invalidType, outOfRange } from '../arguments.js';
import type { Command } from './command-row.js';
import {
  COMMANDS,
  type CommandFields,
  type CommandInput,
  type CommandName,
  type FieldsOf,
} from './commands.js';
import { readU32 } from './struct.js';

/** Offset of the operation in the structs of commands that share a request number. */
const OPERATION = 4;
const LONGEST = 2 ** 32 - 1;

/**
 * The struct of a command as bytes.
 *
 * It is as long as its `size` (of VFIO calls: `argsz`) says: all that is known if that is left out. In a shorter one
 * the last fields are missing, a longer one has zeroes behind them.
 *
 * @param command - name of the command
 * @param fields - its fields; those that the device fills can be left out
 * @throws TypeError or RangeError if there is no such command or field, or a value does not fit its field.
 */
export function encode<N extends CommandName>(command: N, fields: CommandInput<N>): Uint8Array {
  const { struct, least, op } = rowOf(command);
  checkObject(fields, 'fields');
  const bytes = new Uint8Array(struct.length);
  bytes[0] = struct.length;
  if (op !== undefined) bytes[OPERATION] = op;
  struct.write(bytes, fields);
  const size = readU32(bytes, 0);
  if (size < least) throw outOfRange(size, 'size', `from ${least} to ${LONGEST}`);
  if (size <= bytes.length) return bytes.slice(0, size);
  const longer = new Uint8Array(size);
  longer.set(bytes);
  return longer;
}

/**
 * The fields in the bytes of a command's struct. Fields past the end of the bytes are 0.
 *
 * @param command - name of the command
 * @throws TypeError if there is no such command or `bytes` are none.
 */
export function decode<N extends CommandName>(command: N, bytes: Uint8Array): CommandFields<N> {
  return rowOf(command).struct.decodePart(bytes);
}

const TABLE: { readonly [N in CommandName]: Command<FieldsOf<N>> } = COMMANDS;

function rowOf<N extends CommandName>(command: N): Command<FieldsOf<N>> {
  if (typeof command !== 'string' || !Object.hasOwn(COMMANDS, command))
    throw invalidType(command, 'command', 'the name of a command');
  return TABLE[command];
}

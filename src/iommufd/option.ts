/** The OPTION command: settings of a context and of its address spaces. */
import { type IommuError, refuse } from '../errors.js';
import type { Operation } from '../operation.js';
import type { Caller } from './caller.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';
import { holding } from './object-table.js';

/** Which setting an OPTION command is about. */
export const OPTION = Object.freeze({
  /** Whom mappings charge for pinned memory: 0 the user, 1 the process. A setting of the context. */
  RLIMIT_MODE: 0,
  /** Whether page tables may use pages above 4096 bytes: 1 yes, 0 no. A setting of an address space. */
  HUGE_PAGES: 1,
} as const);

/** What an OPTION command does. */
export const OPTION_OP = Object.freeze({ SET: 0, GET: 1 } as const);

/** The fields of OPTION. */
export interface OptionFields {
  readonly optionId: number;
  readonly op: number;
  /** The address space; 0 for settings of the context. */
  readonly objectId: number;
  /** The new value, if `op` is SET. */
  readonly value: bigint;
}

/**
 * OPTION: reads or changes a setting, and gives its value.
 *
 * @throws EOPNOTSUPP for an option, operation or object that does not exist for it, ENOENT if there is no such
 * address space, EPERM if the caller lacks CAP_SYS_RESOURCE for the accounting mode, EBUSY if the context has
 * objects already, EINVAL if the value is neither 0 nor 1, and as `IoPagetable.setLargePages`.
 *
 * @internal
 */
export const option = command(function* (
  context: Context,
  fields: OptionFields,
  caller?: Caller,
): Operation<bigint> {
  switch (fields.optionId) {
    case OPTION.RLIMIT_MODE:
      return rlimitMode(context, fields, caller);
    case OPTION.HUGE_PAGES:
      return yield* hugePages(context.objects.get(fields.objectId, Ioas), fields);
    default:
      throw refuse('EOPNOTSUPP', 'unsupported', `option ${fields.optionId} is not known`);
  }
});

function rlimitMode(context: Context, { op, objectId, value }: OptionFields, caller?: Caller): bigint {
  if (objectId !== 0) {
    throw refuse(
      'EOPNOTSUPP',
      'unsupported',
      'the accounting mode is a setting of the context, not of an object',
    );
  }
  if (op === OPTION_OP.GET) return context.accounting === 'mm' ? 1n : 0n;
  if (op !== OPTION_OP.SET) throw unknownOperation(op);
  if (!context.capable(caller, 'CAP_SYS_RESOURCE')) {
    throw refuse('EPERM', 'state', 'the caller lacks CAP_SYS_RESOURCE');
  }
  if (!context.objects.empty) {
    throw refuse('EBUSY', 'state', 'the accounting mode can be set only before the first object is made');
  }
  context.accounting = readSwitch(value) ? 'mm' : 'user';
  return value;
}

function* hugePages(ioas: Ioas, { op, value }: OptionFields): Operation<bigint> {
  if (op === OPTION_OP.GET) return ioas.table.largePages ? 1n : 0n;
  if (op !== OPTION_OP.SET) throw unknownOperation(op);
  const enable = readSwitch(value);
  yield* holding([ioas], ioas.table.settingLargePages(enable));
  return value;
}

function readSwitch(value: bigint): boolean {
  if (value === 0n || value === 1n) return value === 1n;
  throw refuse('EINVAL', 'argument', `the value is ${value}; it can be 0 or 1`);
}

function unknownOperation(op: number): IommuError {
  return refuse('EOPNOTSUPP', 'unsupported', `operation ${op} is neither get nor set`);
}

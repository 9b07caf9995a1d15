/**
 * Reading arguments that several commands share.
 */
import type { LogRunOptions } from '../replay/log-run.js';
import { PROFILE_NAMES, type Profile, resolveProfile } from '../rules.js';
import { MAX_U64 } from '../u64.js';
import { UsageError } from './terminal.js';

const SIZE = /^(0x[0-9a-f]{1,16}|[0-9]{1,20})(?:([kmgt])(?:i?b)?)?$/i;
const UNITS: Readonly<Record<string, bigint>> = { k: 10n, m: 20n, g: 30n, t: 40n };

/** Options of all commands. */
export const LOG_OPTIONS = {
  profile: { type: 'string' },
  until: { type: 'string' },
  memlock: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

/** Which part of a log the options name, and on which model. @throws UsageError */
export function readLogOptions(values: {
  readonly profile?: string | undefined;
  readonly until?: string | undefined;
  readonly memlock?: string | undefined;
}): LogRunOptions {
  return {
    profile: values.profile === undefined ? undefined : profileNamed(values.profile, '--profile'),
    until: values.until === undefined ? Number.POSITIVE_INFINITY : readCount(values.until, '--until', 1),
    lockedLimit: values.memlock === undefined ? undefined : readAddress(values.memlock, '--memlock'),
  };
}

/** The profile that an option names. @throws UsageError if there is none of that name */
export function profileNamed(text: string, option: string): Profile {
  const name = PROFILE_NAMES.find((known) => known === text);
  if (name === undefined) {
    throw new UsageError(`${option} is one of ${PROFILE_NAMES.join(', ')}, not ${text}`);
  }
  return resolveProfile(name);
}

/** A whole number that is at least `least`. @throws UsageError if it is none */
export function readCount(text: string, what: string, least: number): number {
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : -1;
  if (value >= least) return value;
  throw new UsageError(`${what} is a whole number of at least ${least}, not ${text}`);
}

/**
 * A 64-bit address or length: hex with `0x`, or decimal; `K`, `M`, `G` and `T` multiply it by powers of 1024.
 *
 * @throws UsageError
 */
export function readAddress(text: string, what: string): bigint {
  const match = SIZE.exec(text);
  if (match === null) throw new UsageError(`${what} is a number such as 0x1000 or 4K, not ${text}`);
  const [, digits, unit] = match;
  const value = BigInt(digits!) << (unit === undefined ? 0n : UNITS[unit.toLowerCase()]!);
  if (value > MAX_U64) throw new UsageError(`${what} is below 2^64, not ${text}`);
  return value;
}

/**
 * What kernels do differently: one row of values a kernel. This file alone knows kernels by name; all others ask the
 * row of their table for a value.
 */
import { checkWord } from './arguments.js';
import type { ErrorCode } from './errors.js';

/**
 * Whose behaviour a page table has: `linux-7.3` is that of Linux 7.3, `linux-6.12` that of Linux 6.12, `rfc-v1` that of
 * the first public patch, of March 2022.
 */
export type Profile = 'linux-7.3' | 'linux-6.12' | 'rfc-v1';

/** A profile, or `linux`, which is the newest Linux that is modelled. */
export type ProfileName = Profile | 'linux';

/** A release of Linux: its first two numbers. */
export type Release = `${number}.${number}`;

/** Whether a release is `since`, or came after it. */
export function isAtLeast(release: Release, since: Release): boolean {
  const [major, minor] = release.split('.').map(Number);
  const [firstMajor, firstMinor] = since.split('.').map(Number);
  return major === firstMajor ? minor! >= firstMinor! : major! > firstMajor!;
}

/** What a kernel does where others do something else. */
export interface Rules {
  /** Errno of a mapping onto an area. */
  readonly areaInTheWay: ErrorCode;
  /** Errno of a mapping onto a reservation. */
  readonly reservationInTheWay: ErrorCode;
  /** Errno of a pin that comes upon a hole between areas. */
  readonly holeInPin: ErrorCode;
  /** Whether a pin has to begin at the first byte of a page. */
  readonly pinsBeginOnPages: boolean;
  /** Whether an access that pins raises the alignment of its table, as domains do. */
  readonly accessesAlign: boolean;
  /**
   * The order of a mapping's checks. `length-first`: alignment of the length, choice of the IOVA or its alignment,
   * overflow, reservations, areas, permission, alignment of the user memory. `permission-first`: permission, choice of the IOVA,
   * overflow, alignment of the IOVA, of the length and of the user memory, reservations, areas.
   */
  readonly mappingChecks: 'length-first' | 'permission-first';
  /**
   * Which comes first of a mapping's checks of user memory: that the length is neither 0 nor leaves no room for a page
   * (EINVAL), or that it does not reach 2^64 (EOVERFLOW).
   */
  readonly userRangeChecks: 'length-first' | 'overflow-first';
  /** Whether domains take areas that nobody may read or write. If not, filling one is EINVAL. */
  readonly mapsWithoutPermission: boolean;
  /**
   * How an IOVA is chosen. `windows`: in the allowed ranges, each of which is rounded up once, the lowest place between
   * areas and reservations. `holes`: anywhere, with each hole between areas rounded up before its reservations are
   * looked at.
   */
  readonly placement: 'windows' | 'holes';
  /** The most bytes that a chosen IOVA is aligned to; a power of two, or infinity. */
  readonly placementAlignmentCap: number;
  /** Whether a chosen IOVA may be the last byte of a hole. */
  readonly placementTakesLastByte: boolean;
  /** What a copy can be of: any range that areas cover without a hole, or exactly one whole area. */
  readonly copyTakes: 'covered-range' | 'one-area';
  /** What an unmap removes: all areas inside its range, or the one area that its range is exactly. */
  readonly unmapTakes: 'areas-inside' | 'one-area';
  /** Whether accesses with pins in an area are asked to let go before it is unmapped. If not, it is EBUSY. */
  readonly asksToLetGo: boolean;
  /** Whether marks of dirty pages can be read while dirty tracking is off. If not, all pages are clean. */
  readonly dirtyReadsWhileOff: boolean;
  /**
   * What a dirty page that reaches out of a dirty read sets in the bitmap. `inside`: its bits inside of the request.
   * `from-start`: nothing if it begins before the request, else all of its bits, also those after the request.
   */
  readonly dirtyPageAcross: 'inside' | 'from-start';
  /** What a device with several software MSI regions, or one beside a hardware one, is: EINVAL, or the hardware's counts. */
  readonly mixedMsi: 'refused' | 'hardware-wins';
  /**
   * How the test driver's page tables keep what is mapped, and so what a dirty mark covers. `io-pages`: one by one, with
   * huge pages as a mark on them. `entries`: in entries as large as addresses and length allow.
   */
  readonly testPageTables: 'io-pages' | 'entries';
  /** How the test driver is asked for huge pages: by a flag of the device, or by data for the page table. */
  readonly testHugePages: 'device-flag' | 'table-data';
  /** Which of the test driver's devices' flags are known. */
  readonly testDeviceFlags: number;
  /** Which bits the test driver counts that a device is to have written: those of mapped pages, or all. */
  readonly testDirtyCounts: 'mapped' | 'all';
  /** What the test driver checks first before it verifies a translation. */
  readonly testMapChecks: 'alignment-first' | 'table-first';
  /** The release whose commands and test operations the device has. */
  readonly commands: Release;
  /** Flags of HWPT_ALLOC that are known where a table is made on an address space. */
  readonly tableFlags: number;
  /** Flags of HWPT_ALLOC that are known where a table is made in another one. */
  readonly nestedTableFlags: number;
  /** Whether GET_HW_INFO can be asked for one type of data. */
  readonly hardwareInfoTakesType: boolean;
  /** Whether GET_HW_INFO tells of a device that it cannot use ATS. */
  readonly hardwareInfoTellsAts: boolean;
  /** Errno of an invalidation of what cannot be invalidated. */
  readonly notInvalidatable: ErrorCode;
  /** Whether the device has an mmap at all: without, all of them are ENODEV. */
  readonly deviceHasMmap: boolean;
  /** How programs reach the tables, and so what traces of the kernel were recorded on. */
  readonly reachedBy: 'ioctls' | 'function-calls';
}

const RFC_V1: Rules = {
  areaInTheWay: 'EADDRINUSE',
  reservationInTheWay: 'ENOENT',
  holeInPin: 'EINVAL',
  pinsBeginOnPages: false,
  accessesAlign: false,
  mappingChecks: 'permission-first',
  userRangeChecks: 'length-first',
  mapsWithoutPermission: true,
  placement: 'holes',
  placementAlignmentCap: Number.POSITIVE_INFINITY,
  placementTakesLastByte: true,
  copyTakes: 'one-area',
  unmapTakes: 'one-area',
  asksToLetGo: false,
  dirtyReadsWhileOff: false,
  dirtyPageAcross: 'inside',
  mixedMsi: 'hardware-wins',
  testPageTables: 'io-pages',
  testHugePages: 'device-flag',
  testDeviceFlags: 3,
  testDirtyCounts: 'mapped',
  testMapChecks: 'alignment-first',
  commands: '6.12',
  tableFlags: 3,
  nestedTableFlags: 4,
  hardwareInfoTakesType: false,
  hardwareInfoTellsAts: false,
  notInvalidatable: 'ENOENT',
  deviceHasMmap: false,
  reachedBy: 'function-calls',
};

const LINUX_6_12: Rules = {
  areaInTheWay: 'EEXIST',
  reservationInTheWay: 'EINVAL',
  holeInPin: 'ENOENT',
  pinsBeginOnPages: true,
  accessesAlign: true,
  mappingChecks: 'length-first',
  userRangeChecks: 'length-first',
  mapsWithoutPermission: true,
  placement: 'windows',
  placementAlignmentCap: 2 ** 21,
  placementTakesLastByte: false,
  copyTakes: 'covered-range',
  unmapTakes: 'areas-inside',
  asksToLetGo: true,
  dirtyReadsWhileOff: false,
  dirtyPageAcross: 'inside',
  mixedMsi: 'refused',
  testPageTables: 'io-pages',
  testHugePages: 'device-flag',
  testDeviceFlags: 3,
  testDirtyCounts: 'mapped',
  testMapChecks: 'alignment-first',
  commands: '6.12',
  tableFlags: 3,
  nestedTableFlags: 4,
  hardwareInfoTakesType: false,
  hardwareInfoTellsAts: false,
  notInvalidatable: 'ENOENT',
  deviceHasMmap: false,
  reachedBy: 'ioctls',
};

const LINUX_7_3: Rules = {
  ...LINUX_6_12,
  userRangeChecks: 'overflow-first',
  mapsWithoutPermission: false,
  dirtyReadsWhileOff: true,
  dirtyPageAcross: 'from-start',
  testPageTables: 'entries',
  testHugePages: 'table-data',
  testDeviceFlags: 5,
  testDirtyCounts: 'all',
  testMapChecks: 'table-first',
  commands: '7.3',
  tableFlags: 15,
  nestedTableFlags: 12,
  hardwareInfoTakesType: true,
  hardwareInfoTellsAts: true,
  notInvalidatable: 'EINVAL',
  deviceHasMmap: true,
};

/** The rows. A later kernel is an earlier row with what it does otherwise: `{ ...LINUX_6_12, areaInTheWay: 'EBUSY' }`. */
const ROWS: Readonly<Record<Profile, Rules>> = {
  'linux-7.3': LINUX_7_3,
  'linux-6.12': LINUX_6_12,
  'rfc-v1': RFC_V1,
};

/** What `linux` is. */
const NEWEST: Profile = 'linux-7.3';

/** What a trace was recorded on that does not say it: there was no other kernel then. */
const UNNAMED_IN_TRACES: Profile = 'linux-6.12';

/** All profiles. */
export const PROFILES: readonly Profile[] = Object.keys(ROWS).filter(isProfile);

/** All names of profiles, the default first. */
export const PROFILE_NAMES: readonly ProfileName[] = ['linux', ...PROFILES];

/**
 * The rows as tables have them: made at one place, they have one hidden class, and asking for a value costs the same
 * for a process that has tables of several profiles.
 */
const RULES = new Map<Profile, Rules>(
  PROFILES.map((profile) => [profile, Object.assign({ ...LINUX_6_12 }, ROWS[profile])]),
);

function isProfile(name: string): name is Profile {
  return Object.hasOwn(ROWS, name);
}

/** What a profile does. */
export function rulesOf(profile: Profile): Rules {
  return RULES.get(profile)!;
}

/** The rules in which two profiles differ. */
export function differingRules(a: Profile, b: Profile): (keyof Rules)[] {
  const [one, other] = [rulesOf(a), rulesOf(b)];
  return (Object.keys(one) as (keyof Rules)[]).filter((rule) => one[rule] !== other[rule]);
}

/**
 * A kernel that never was: `base`, but for one rule, in which it is like `other`. What it answers tells what the rule is
 * to blame for. Programs cannot ask for it by a name of their own.
 *
 * @internal
 */
export function profileWithRuleOf(base: Profile, other: Profile, rule: keyof Rules): Profile {
  const name = `${base} with ${rule} of ${other}` as Profile;
  if (!RULES.has(name)) RULES.set(name, { ...rulesOf(base), [rule]: rulesOf(other)[rule] });
  return name;
}

/** The profile of a name; without one, what a table has if nobody says. */
export function resolveProfile(name: ProfileName = 'linux'): Profile {
  return name === 'linux' ? NEWEST : name;
}

/**
 * The profile that an option asks for.
 *
 * @throws TypeError if it is there and no name of one
 */
export function readProfile(value: ProfileName | undefined, name: string): Profile {
  const profile = resolveProfile(value);
  if (!RULES.has(profile)) checkWord(profile, name, PROFILE_NAMES);
  return profile;
}

/**
 * The profile that recorded a trace, by what its header says: the profile, else the release of the kernel. In traces
 * `linux`, or nothing at all, is the Linux that the first of them were recorded on. `undefined` for an unknown one.
 */
export function profileOfTrace(profile: string | undefined, kernel: string | undefined): Profile | undefined {
  if (profile === 'linux' || (profile ?? kernel) === undefined) return UNNAMED_IN_TRACES;
  const [, version] = /^(\d+\.\d+)(?!\d)/.exec(kernel ?? '') ?? [];
  const name = profile ?? (version === undefined ? kernel! : `linux-${version}`);
  return isProfile(name) ? name : undefined;
}

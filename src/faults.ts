/**
 * Fault injection: the places where a call can fail for a reason that is none of its arguments' doing, such as an
 * allocation, and who may make it fail there.
 */
import { invalidType } from './arguments.js';
import { type ErrorCode, type IommuError, refuse } from './errors.js';

/** What a call fails with at each fault point; `undefined`: it does not fail, but has to go another way. */
const ERRORS = {
  /** Finding an object of an iommufd by its id. */
  'object-lookup': 'ENOENT',
  /** Memory for an object of an iommufd. */
  object: 'ENOMEM',
  /** Handing the answer over. What has been mapped, copied or unmapped stays so; a new object is destroyed. */
  response: 'EFAULT',
  /** Memory for the pages of a map. */
  pages: 'ENOMEM',
  /** Memory for an area. */
  area: 'ENOMEM',
  /** Memory for one part of the source of a copy. */
  'copy-part': 'ENOMEM',
  /** The permission of the second and later parts of a copy, when those before are in the table. */
  placement: 'EPERM',
  /** Memory for the list of frames of an area. */
  batch: 'ENOMEM',
  /** `UserMemory.pin`. */
  pin: 'EFAULT',
  /** `UserMemory.pin` gives one page where more were asked for. */
  'short-pin': undefined,
  /** The process whose memory is to be pinned is gone. */
  process: 'EFAULT',
  /** The process that is to be charged is gone. */
  'process-account': 'EINVAL',
  /** The locked-memory limit. */
  charge: 'ENOMEM',
  /** A request to a domain to map consecutive frames. */
  'domain-map': 'ENOENT',
  /** As `domain-map`, page by page: large pages are disabled. */
  'domain-map-page': 'ENOENT',
  /** Keeping the frames of an access. */
  'pinned-store': 'EINVAL',
  /** Memory for a pinned interval of an access. */
  'pages-access': 'ENOMEM',
  /** Memory for a reservation. */
  reservation: 'ENOMEM',
  /** Memory for a domain's place in a table. */
  'domain-slot': 'ENOMEM',
  /** The reserved regions of a device, before the first. */
  'device-regions': 'EINVAL',
  /** Memory for an access's place in a table. */
  'access-slot': 'ENOMEM',
  /** An access does not hear that it should let go; it is asked again. */
  notification: undefined,
  /** Memory for an allowed range. */
  'allowed-range': 'ENOMEM',
  /** Memory for the halves of an area that is split. What was split before stays so. */
  split: 'ENOMEM',
  /** Reading or writing one page of another process. What was copied of areas before stays so. */
  'page-transfer': 'EINVAL',
  /** Memory for reading dirty marks. */
  'dirty-bitmap': 'ENOMEM',
} as const satisfies Record<string, ErrorCode | undefined>;

/** The name of a fault point. */
export type FaultPoint = keyof typeof ERRORS;

/** All fault points with what calls fail with there; `undefined` where they don't fail but go another way. */
export const FAULT_ERRORS: Readonly<Record<FaultPoint, ErrorCode | undefined>> = Object.freeze(ERRORS);

/** A fault point at which calls fail. */
type FailingPoint = { [P in FaultPoint]: (typeof ERRORS)[P] extends ErrorCode ? P : never }[FaultPoint];

/** Decides which fault points fail. `FaultCounter` of `io-pagetable/testing` fails the n-th. */
export interface FaultInjector {
  /** A call has come to a fault point. `true`: it fails there. What this throws, the call fails with. */
  fails(point: FaultPoint): boolean;
}

/** @throws TypeError if `faults` is neither absent nor a `FaultInjector` */
export function checkFaults(faults: FaultInjector | undefined): void {
  if (faults === undefined || typeof faults?.fails === 'function') return;
  throw invalidType(faults, 'options.faults', 'a FaultInjector');
}

/** A fault point. @throws its error if the injector wants it to fail */
export function faultPoint(faults: FaultInjector | undefined, point: FailingPoint): void {
  if (faults?.fails(point)) throw injected(point);
}

function injected(point: FailingPoint): IommuError {
  return refuse(ERRORS[point], 'fault', `a fault was injected: ${point}`);
}

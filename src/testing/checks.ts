/** What the kernel's test driver verifies: translations of a domain, and pins of pages. */
import { checkBoolean, checkInteger, checkObject, invalidType, readValue } from '../arguments.js';
import { checkDomain, type IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import { ProcessMemory } from '../memory/process-memory.js';
import { checkMemory } from '../memory/user-memory.js';
import { type Operation, start } from '../operation.js';
import { hex, MAX_U64, PAGE_SIZE, split, type U64Input } from '../u64.js';
import { frameBehind, noPage, type TestMemory } from './page-identity.js';

const PAGE = BigInt(PAGE_SIZE);

/** Bytes of an io page of the mock domain. */
const MOCK_IO_PAGE = 2048n;

/** What `checkMap` takes. */
export interface CheckMapRequest {
  /** Finds the domain. What it throws is thrown on once the arguments are known to be good, unless `domainFirst`. */
  readonly domain: () => IommuDomain;
  /** Whether there has to be a domain before the arguments are looked at, as later kernels want it. Default false. */
  readonly domainFirst?: boolean | undefined;
  /** The memory that should be behind it. */
  readonly memory: TestMemory;
  readonly iova: U64Input;
  readonly length: U64Input;
  /** User address that `iova` should lead to. */
  readonly uptr: U64Input;
}

/**
 * Verifies that a domain translates a range to the bytes of user memory (MD_CHECK_MAP), one io page of the domain
 * (2048 bytes if there is no domain) after the other.
 *
 * @throws EINVAL if `iova`, `length` or `uptr` is not a multiple of the io page or the user range passes 2^64 − 1;
 * what finding the domain throws; EFAULT if there is no user memory; EINVAL if an io page leads elsewhere or nowhere.
 */
export function checkMap(request: CheckMapRequest): Promise<void> {
  return start(checkingMap(request));
}

function* checkingMap(request: CheckMapRequest): Operation<void> {
  checkObject(request, 'request');
  const { memory, domain: find, domainFirst = false } = request;
  checkBoolean(domainFirst, 'request.domainFirst');
  checkMemory(memory, 'request.memory');
  if (typeof find !== 'function') throw invalidType(find, 'request.domain', 'a function');
  const iova = readValue(request.iova, 'iova');
  const length = readValue(request.length, 'length');
  const uptr = readValue(request.uptr, 'uptr');
  let domain: IommuDomain | undefined;
  let missing: unknown;
  try {
    const found = find();
    checkDomain(found, 'request.domain()');
    domain = found;
  } catch (error) {
    if (domainFirst) throw error;
    missing = error;
  }
  const ioPage = domain === undefined ? MOCK_IO_PAGE : domain.pageSizeBitmap & -domain.pageSizeBitmap;
  if ((iova | length | uptr) % ioPage !== 0n) {
    throw refuse('EINVAL', 'argument', `iova, length or uptr is not a multiple of ${ioPage}`);
  }
  checkUserRange(uptr, length);
  if (domain === undefined) throw missing;
  for (let at = 0n; at < length; at += ioPage) {
    const frame = yield* frameBehind(memory, split(uptr + at).page);
    const expected = BigInt(frame) * PAGE + ((uptr + at) % PAGE);
    const actual = domain.iovaToPhys((iova + at) & MAX_U64);
    if (actual === expected) continue;
    const found = actual === undefined ? 'nothing' : hex(actual);
    const detail = `iova ${hex(iova + at)} should lead to ${hex(expected)}, but leads to ${found}`;
    throw refuse('EINVAL', 'state', detail);
  }
}

/**
 * Verifies how often each page of a user range is pinned, by anybody (MD_CHECK_REFS).
 *
 * @throws EINVAL if `uptr` or `length` is not a multiple of 4096 or the range passes 2^64 − 1, EOPNOTSUPP if the
 * memory has no `pinsAt`, EFAULT if there is no memory, EIO if a page is pinned another number of times than `refs`.
 */
export function checkRefs(
  memory: TestMemory,
  request: { readonly uptr: U64Input; readonly length: U64Input; readonly refs: number },
): void {
  checkMemory(memory, 'memory');
  checkObject(request, 'request');
  const { refs } = request;
  checkInteger(refs, 'request.refs', 0, Number.MAX_SAFE_INTEGER);
  const uptr = readValue(request.uptr, 'uptr');
  const length = readValue(request.length, 'length');
  if ((uptr | length) % PAGE !== 0n) {
    throw refuse('EINVAL', 'argument', `uptr or length is not a multiple of ${PAGE_SIZE}`);
  }
  checkUserRange(uptr, length);
  if (memory.pinsAt === undefined) {
    throw refuse('EOPNOTSUPP', 'unsupported', 'the memory does not tell how often its pages are pinned');
  }
  for (let at = 0n; at < length; at += PAGE) {
    const { page } = split(uptr + at);
    const pins = memory.pinsAt(page);
    if (pins === undefined) throw noPage(page);
    if (pins === 'uncounted' || pins === refs || memory.hugeAt?.(page) === true) continue;
    throw refuse('EIO', 'state', `user page ${hex(uptr + at)} is pinned ${pins} times, not ${refs}`);
  }
}

/** `pages` neighbouring pages that are all pinned `pins` times. */
export interface PinRun {
  pages: number;
  readonly pins: number;
}

/**
 * How often each page of a user range is pinned, as runs of pages with the same count. Pins of huge pages are passed over.
 *
 * @throws EFAULT if a page is no memory.
 */
export function pagePins(
  memory: ProcessMemory,
  request: { readonly uptr: U64Input; readonly length: U64Input },
): PinRun[] {
  if (!(memory instanceof ProcessMemory)) throw invalidType(memory, 'memory', 'a ProcessMemory');
  checkObject(request, 'request');
  const uptr = readValue(request.uptr, 'uptr');
  const length = readValue(request.length, 'length');
  const runs: PinRun[] = [];
  for (let at = 0n; at < length; at += PAGE) {
    const address = (uptr + at) & MAX_U64;
    const pins = memory.hugeAt(split(address).page) ? 0 : memory.pins(address);
    const run = runs.at(-1);
    if (run?.pins === pins) run.pages += 1;
    else runs.push({ pages: 1, pins });
  }
  return runs;
}

function checkUserRange(uptr: bigint, length: bigint): void {
  if (uptr + length > MAX_U64) throw refuse('EINVAL', 'argument', 'the user range reaches past 2^64 - 1');
}

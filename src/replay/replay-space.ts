/**
 * One IOVA space of a log, on the model.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { translationOf } from '../domain/translate.js';
import { type ErrorCode, IommuError, notMapped, sentence } from '../errors.js';
import type { ExplainRequest } from '../explain/request.js';
import { IoPagetable } from '../io-pagetable.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Protection } from '../protection.js';
import type { Profile } from '../rules.js';
import { hex, type Interval, intervalOf, MAX_U64, split } from '../u64.js';
import type { LoggedMemory } from './logged-memory.js';

/** How the model answered a request. */
export interface Answer {
  readonly code: 'OK' | ErrorCode;
  /** For an unmap: bytes that went, also before an error. */
  readonly unmapped: bigint;
  /** Why, as a sentence without a full stop. */
  readonly because: string;
  /** The error, if it is one. */
  readonly error?: IommuError;
}

/** An IOVA space of a log. */
export interface NamedSpace {
  /** What the log calls it: `container 0x55b99d7b7d40`, `domain 0`, `ioas1`. */
  readonly name: string;
  readonly table: IoPagetable;
}

/** Makes a domain that devices of one IOVA space are translated by. */
export type CreateDomain = (request: { readonly dirtyTracking: boolean }) => IommuDomain;

/** A request of a log, and the space that can be asked about it. */
export interface ReplayQuestion {
  readonly space: NamedSpace;
  readonly request: ExplainRequest;
}

/** What a new space is made with. */
export interface SpaceOptions {
  readonly profile: Profile;
  readonly memory: UserMemory;
  /** The memory behind `memory`, where it is one that knows no more than the log does. */
  readonly logged?: LoggedMemory | undefined;
  readonly createDomain: CreateDomain;
}

/** An `IoPagetable` and the domain that devices translate by, with the answers of its calls as values. */
export class ReplaySpace implements NamedSpace {
  readonly name: string;
  readonly table: IoPagetable;
  readonly domain: IommuDomain;

  /** A table that has the domain attached. */
  constructor(name: string, table: IoPagetable, domain: IommuDomain) {
    this.name = name;
    this.table = table;
    this.domain = domain;
  }

  /** A new, empty space with a domain attached. */
  static async create(name: string, options: SpaceOptions): Promise<ReplaySpace> {
    const domain = options.createDomain({ dirtyTracking: false });
    const space = new ReplaySpace(name, new IoPagetable(options), domain);
    await space.table.addDomain(domain);
    return space;
  }

  /** What a device's access meets in the domain, or `undefined` if nothing is mapped there. */
  translate(iova: bigint): { readonly physical: bigint; readonly protection: number } | undefined {
    return translationOf(this.domain, iova);
  }

  /** Maps at a fixed IOVA. */
  map(iova: bigint, uptr: bigint, length: bigint, prot: Protection): Promise<Answer> {
    return answer(async () => {
      await this.table.map({ iova, uptr, length, prot });
      return MAPPED;
    });
  }

  /** Unmaps as the ioctl IOMMU_IOAS_UNMAP does: nothing there is ENOENT, [0, 2^64 − 1] is everything. */
  unmap(iova: bigint, length: bigint): Promise<Answer> {
    return answer(async () => {
      const everything = iova === 0n && length >= MAX_U64;
      const unmapped = await (everything ? this.table.unmapAll() : this.table.unmap(iova, length));
      if (unmapped === 0n && !everything) throw notMapped(split(iova));
      return unmappedAnswer(unmapped);
    });
  }

  /** Unmaps everything and lets go of the domain. */
  async close(): Promise<void> {
    await this.table.unmapAll();
    await this.table.removeDomain(this.domain);
  }
}

/** The answer to a map that succeeds. */
export const MAPPED: Answer = {
  code: 'OK',
  unmapped: 0n,
  because: 'nothing is mapped or reserved in that range',
};

/** The answer to an unmap that succeeds. */
export function unmappedAnswer(unmapped: bigint): Answer {
  const because = `an unmap takes all areas that lie wholly inside its range: 0x${unmapped.toString(16)} bytes`;
  return { code: 'OK', unmapped, because };
}

/** Makes a map. Memory that the log is the only source for is missing where the log says that it was. */
export function mapAsLogged(
  { logged }: SpaceOptions,
  answered: string,
  { uptr, length }: { readonly uptr: bigint; readonly length: bigint },
  map: () => Promise<Answer>,
): Promise<Answer> {
  return logged !== undefined && answered === 'EFAULT' ? logged.without(uptr, length, map) : map();
}

/** The answer of a call; an error of the model is one too. */
export async function answer(call: () => Promise<Answer>): Promise<Answer> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
    return { code: error.code, unmapped: error.unmapped ?? 0n, because: sentence(error.reason), error };
  }
}

/** A range of a log in words, also one that is empty or reaches past 2^64 − 1. */
export function rangeInWords(iova: bigint, length: bigint): string {
  if (length === 0n) return `0 bytes at ${hex(iova)}`;
  const last = iova + length - 1n;
  return last > MAX_U64 ? `${hex(length)} bytes from ${hex(iova)}` : `[${hex(iova)}, ${hex(last)}]`;
}

/** The IOVA that a call on `length` bytes from `iova` on may change; the call fails where there is none. */
export function changedBy(iova: bigint, length: bigint): Interval | undefined {
  return length === 0n ? undefined : intervalOf(split(iova), split(length));
}

/**
 * The calls of a table that have a quick way, with their arguments read: how each is carried out, logged, and how its
 * errors are named.
 */
import { checkedInterval } from './arguments.js';
import { during, IommuError } from './errors.js';
import type { Explanation } from './explain/explanation.js';
import type { ExplainRequest } from './explain/request.js';
import { logCopy, logMap, logUnmap } from './log.js';
import type { Operation, QuickCall } from './operation.js';
import { protectionName } from './protection.js';
import { type Copying, type CopyRequest, copyingOf, copyPages, copyQuickly } from './table/copy.js';
import type { IovaSpace } from './table/iova-space.js';
import { type MapRequest, mappingOf } from './table/map.js';
import { type Mapping, mapPages, mapQuickly } from './table/map-pages.js';
import { type Unmapping, unmappingOf, unmapQuickly, type unmapRange } from './table/unmap.js';
import { type Address, hex, join, WHOLE_SPACE } from './u64.js';

/** A table that can be asked what a call would do. */
interface ExplainingSpace extends IovaSpace {
  explain(request: ExplainRequest): Promise<Explanation>;
}

/** Lets an error be asked for advice. Nothing is worked out before that. */
export function advised(table: ExplainingSpace, error: unknown, request: ExplainRequest): unknown {
  if (error instanceof IommuError) error.adviseBy(async () => (await table.explain(request)).text);
  return error;
}

/** `map` */
export class MapCall implements QuickCall<bigint> {
  readonly #table: ExplainingSpace;
  readonly #request: MapRequest;
  #mapping: Mapping | undefined;

  constructor(table: ExplainingSpace, request: MapRequest) {
    this.#table = table;
    this.#request = request;
  }

  quickly(): bigint | undefined {
    this.#mapping = mappingOf(this.#table.state, this.#request);
    return mapQuickly(this.#mapping);
  }

  rest(): Operation<bigint> {
    return mapPages(this.#mapping!);
  }

  done(at: bigint): void {
    if (!logMap.enabled) return;
    const { from, length, prot } = this.#request;
    logMap('%s + %s at %s %s', hex(from), hex(length), hex(at), protectionName(prot));
  }

  failed(error: unknown): unknown {
    const { memory, file, accounting, iova, from, length, prot } = this.#request;
    const named = during(error, 'map', iova, length);
    if (file !== undefined) return named;
    return advised(this.#table, named, {
      call: 'map',
      memory,
      accounting,
      iova: joinedIfAny(iova),
      uptr: joined(from),
      length: joined(length),
      prot: protectionName(prot),
    });
  }
}

/** `copy` */
export class CopyCall implements QuickCall<bigint> {
  readonly #table: ExplainingSpace;
  readonly #from: IovaSpace;
  readonly #copying: Copying;

  constructor(table: ExplainingSpace, from: IovaSpace, request: CopyRequest) {
    this.#table = table;
    this.#from = from;
    this.#copying = copyingOf(table.state, request);
  }

  quickly(): bigint | undefined {
    return copyQuickly(this.#copying);
  }

  rest(): Operation<bigint> {
    return copyPages(this.#copying);
  }

  done(at: bigint): void {
    if (!logCopy.enabled) return;
    const { srcIova, length, prot } = this.#copying.request;
    logCopy('%s + %s to %s %s', hex(srcIova), hex(length), hex(at), protectionName(prot));
  }

  failed(error: unknown): unknown {
    const { srcIova, iova, length, prot } = this.#copying.request;
    return advised(this.#table, during(error, 'copy', iova ?? srcIova, length), {
      call: 'copy',
      from: this.#from,
      srcIova: joined(srcIova),
      iova: joinedIfAny(iova),
      length: joined(length),
      prot: protectionName(prot),
    });
  }
}

/** `unmap`; `rest` is what there is beside the quick way. */
export class UnmapCall implements QuickCall<bigint> {
  readonly #table: ExplainingSpace;
  readonly #iova: Address;
  readonly #length: Address;
  readonly #rest: typeof unmapRange;
  #unmapping: Unmapping | undefined;

  constructor(table: ExplainingSpace, iova: Address, length: Address, rest: typeof unmapRange) {
    this.#table = table;
    this.#iova = iova;
    this.#length = length;
    this.#rest = rest;
  }

  quickly(): bigint | undefined {
    const { state } = this.#table;
    const range = checkedInterval(this.#iova, this.#length);
    this.#unmapping = unmappingOf(state, range, state.rules.unmapTakes === 'one-area');
    return unmapQuickly(this.#unmapping);
  }

  rest(): Operation<bigint> {
    return this.#rest(this.#unmapping!);
  }

  done(gone: bigint): void {
    if (logUnmap.enabled) logUnmap('%s + %s: %s bytes', hex(this.#iova), hex(this.#length), hex(gone));
  }

  failed(error: unknown): unknown {
    const [iova, length] = [joined(this.#iova), joined(this.#length)];
    return advised(this.#table, during(error, 'unmap', this.#iova, this.#length), {
      call: 'unmap',
      iova,
      length,
    });
  }
}

/** `unmapAll` */
export class UnmapAllCall implements QuickCall<bigint> {
  readonly #unmapping: Unmapping;
  readonly #rest: typeof unmapRange;

  constructor(table: IovaSpace, rest: typeof unmapRange) {
    this.#unmapping = unmappingOf(table.state, WHOLE_SPACE, false);
    this.#rest = rest;
  }

  quickly(): bigint | undefined {
    return unmapQuickly(this.#unmapping);
  }

  rest(): Operation<bigint> {
    return this.#rest(this.#unmapping);
  }

  done(): void {}

  failed(error: unknown): unknown {
    return during(error, 'unmapAll');
  }
}

function joined({ page, offset }: Address): bigint {
  return join(page, offset);
}

function joinedIfAny(address: Address | undefined): bigint | undefined {
  return address && joined(address);
}

/**
 * A snapshot cut into the spans that a picture draws.
 */
import type { AreaSnapshot, TableSnapshot } from '../inspect/snapshot.js';

/** A closed range of IOVA in which everywhere the same is mapped, reserved or allowed. */
export interface Span {
  readonly first: bigint;
  /** Inclusive. */
  readonly last: bigint;
  /** The area that covers it. */
  readonly area: DrawnArea | undefined;
  /** Whose reservations cover it, in order of their names. */
  readonly owners: readonly string[];
  /** Whether an allowed range covers it; looked at only where nothing is mapped or reserved. */
  readonly allowed: boolean;
}

/** An area of a snapshot or of a recording. */
export type DrawnArea = Omit<AreaSnapshot, 'prot'> & { readonly prot: string };

/** What a picture is of: a snapshot, or as much of one as a recording has. */
export interface DrawnSpace extends Pick<TableSnapshot, 'reserved' | 'allowed' | 'domains'> {
  readonly areas: readonly DrawnArea[];
}

/** In which domains an area is, in words: in all of its table, once it has been put into one. */
export function domainsOf({ storageDomain }: DrawnArea, { domains }: Pick<DrawnSpace, 'domains'>): string {
  if (storageDomain === null) return '';
  return domains.length > 1 ? `, in all ${domains.length} domains` : `, in domain ${storageDomain}`;
}

/** One more than the last IOVA. */
const SPACE = 1n << 64n;

interface Piece {
  readonly first: bigint;
  readonly last: bigint;
  readonly area?: DrawnArea;
  readonly owner?: string;
}

/** Cuts the whole space, 0 to 2^64 − 1, wherever what is there changes; in order of IOVA. */
export function spansOf(snapshot: DrawnSpace): Span[] {
  const edges = new Map<bigint, { readonly starts: Piece[]; readonly stops: Piece[] }>([
    [0n, { starts: [], stops: [] }],
    [SPACE, { starts: [], stops: [] }],
  ]);
  const edge = (at: bigint) => {
    const known = edges.get(at) ?? { starts: [], stops: [] };
    edges.set(at, known);
    return known;
  };
  for (const piece of piecesOf(snapshot)) {
    edge(piece.first).starts.push(piece);
    edge(piece.last + 1n).stops.push(piece);
  }
  const cuts = [...edges].sort(([a], [b]) => (a < b ? -1 : 1));
  const live = new Set<Piece>();
  const spans: Span[] = [];
  for (const [at, [first, { starts, stops }]] of cuts.slice(0, -1).entries()) {
    for (const piece of stops) live.delete(piece);
    for (const piece of starts) live.add(piece);
    const span = { first, last: cuts[at + 1]![0] - 1n, ...contents(live) };
    const before = spans.at(-1);
    if (before !== undefined && alike(before, span)) spans[spans.length - 1] = { ...before, last: span.last };
    else spans.push(span);
  }
  return spans;
}

function* piecesOf(snapshot: DrawnSpace): Generator<Piece, void, undefined> {
  for (const area of snapshot.areas) yield { first: BigInt(area.iova), last: BigInt(area.last), area };
  for (const { start, last, owner } of snapshot.reserved) {
    yield { first: BigInt(start), last: BigInt(last), owner };
  }
  for (const { start, last } of snapshot.allowed) yield { first: BigInt(start), last: BigInt(last) };
}

function contents(live: ReadonlySet<Piece>): Pick<Span, 'area' | 'owners' | 'allowed'> {
  const pieces = [...live];
  const area = pieces.find((piece) => piece.area !== undefined)?.area;
  const owners = new Set(pieces.flatMap(({ owner }) => (owner === undefined ? [] : [owner])));
  const occupied = area !== undefined || owners.size > 0;
  return { area, owners: [...owners].sort(), allowed: !occupied && pieces.length > 0 };
}

function alike(a: Span, b: Span): boolean {
  return a.area === b.area && a.allowed === b.allowed && a.owners.join('\n') === b.owners.join('\n');
}

/** How many bytes a span has. */
export function sizeOf(span: Pick<Span, 'first' | 'last'>): bigint {
  return span.last - span.first + 1n;
}

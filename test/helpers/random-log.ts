/** Logs as nobody would write them: every format's lines with values at the edges, cut, repeated and mixed with noise. */
import { formatNameOf, LOG_FORMATS, type LogEvent } from '../../src/replay/formats/formats.js';

/** Gives numbers from 0 up to, and without, 1; the same ones for the same seed. */
export type Random = () => number;

/** A small generator (mulberry32). */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const EDGES = [
  0n,
  1n,
  0xfffn,
  0x1000n,
  0x2000n,
  0xfee00000n,
  2n ** 47n,
  2n ** 63n,
  2n ** 64n - 0x1000n,
  2n ** 64n - 1n,
];

/** The lines of a random log. */
export function* randomLog(random: Random, count: number): Generator<string, void, undefined> {
  const below = (limit: number) => Math.floor(random() * limit);
  const one = <Item>(items: readonly Item[]): Item => items[below(items.length)]!;
  const address = () => (below(3) === 0 ? one(EDGES) : BigInt(below(64)) * 0x1000n);
  const length = () => (below(4) === 0 ? one(EDGES) : BigInt(1 + below(8)) * 0x1000n);
  const small = () => (below(8) === 0 ? 2 ** 31 - 1 - below(3) : below(6));
  const result = () => one([0, 0, 0, -1, -2, -12, -14, -16, -17, -22, -999]);
  const ranged = () => {
    const [a, b] = [address(), address()];
    return a <= b ? { iova: a, last: b } : { iova: b, last: a };
  };
  const sentence = () => one(['No such file or directory', 'Success', '\u202e(', 'x'.repeat(below(3000))]);
  const event = (): LogEvent => {
    const line = 1;
    const call = { line, iommufd: small(), result: result() };
    const ioas = { ...call, ioas: small(), iova: address(), length: length() };
    const vfio = { line, container: BigInt(small()), iova: address(), length: length(), result: result() };
    return one<() => LogEvent>([
      () => ({ type: 'vfio-map', ...vfio, uptr: address() }),
      () => ({ type: 'vfio-unmap', ...vfio, text: sentence() }),
      () => ({
        type: 'viommu-map',
        line,
        domain: small(),
        ...ranged(),
        physical: address(),
        flags: below(8),
      }),
      () => ({ type: 'viommu-unmap', line, domain: small(), ...ranged() }),
      () => ({ type: 'viommu-unmap-done', line, domain: small(), ...ranged() }),
      () => ({
        type: 'viommu-translate',
        line,
        region: 'mr',
        endpoint: small(),
        iova: address(),
        access: below(4),
      }),
      () => ({ type: 'viommu-translated', line, iova: address(), physical: address(), endpoint: small() }),
      () => ({ type: one(['viommu-attach', 'viommu-detach']), line, domain: small(), endpoint: small() }),
      () => ({ type: 'viommu-reserved', line, endpoint: small(), kind: below(3), ...ranged() }),
      () => ({ type: 'viommu-free-domain', line, domain: small() }),
      () => ({ type: 'viommu-free-endpoint', line, endpoint: small() }),
      () => ({ type: 'iommufd-connect', line, fd: small(), owned: true, users: small() }),
      () => ({ type: 'iommufd-disconnect', line, fd: small(), users: below(2) }),
      () => ({ type: 'iommufd-alloc-ioas', line, iommufd: small(), ioas: small() }),
      () => ({ type: 'iommufd-map-dma', ...ioas, uptr: address(), readonly: below(2) === 0 }),
      () => ({ type: 'iommufd-map-file-dma', ...ioas, fd: small(), start: address(), readonly: false }),
      () => ({ type: one(['iommufd-unmap-dma', 'iommufd-unmap-dma-non-exist']), ...ioas }),
      () => ({
        type: 'iommufd-alloc-hwpt',
        ...call,
        device: small(),
        parent: small(),
        flags: BigInt(below(4)),
        dataType: below(2),
        dataLength: 0,
        dataPointer: 0n,
        hwpt: small(),
      }),
      () => ({ type: 'iommufd-free-id', ...call, id: small() }),
      () => ({ type: 'iommufd-set-dirty', ...call, hwpt: small(), enable: below(2) === 0 }),
      () => ({
        type: 'iommufd-get-dirty-bitmap',
        ...call,
        hwpt: small(),
        iova: address(),
        length: length(),
        flags: BigInt(below(2)),
        pageSize: one([0n, 1n, 0x1000n, 0x200000n]),
      }),
    ])();
  };
  for (let at = 0; at < count; at++) {
    const what = event();
    const format = LOG_FORMATS.find(({ name }) => name === formatNameOf(what))!;
    const text = format.write(what);
    const kind = below(20);
    if (kind === 0) yield text.slice(0, below(text.length));
    else if (kind === 1) yield text.slice(below(text.length));
    else if (kind === 2) yield `${text}${text}`;
    else if (kind === 3) yield `${one(['error: ', '{"log":"', '\0', '  '])}File exists ${sentence()}`;
    else if (kind === 4) yield text.replaceAll(/[0-9a-f]/g, (digit) => (below(8) === 0 ? 'f' : digit));
    else yield `${below(2) === 0 ? '' : '4711@1618242847.937647:'}${text}`;
  }
}

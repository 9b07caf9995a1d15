/** Random events of all log formats, and tests' shorthands. */
import fc from 'fast-check';
import type { LogEvent } from '../../src/replay/formats/formats.js';
import type { IommufdEvent } from '../../src/replay/formats/iommufd/iommufd-log.js';
import type { VfioEvent } from '../../src/replay/formats/vfio/vfio-log.js';
import type { ViommuEvent } from '../../src/replay/formats/virtio-iommu/virtio-iommu-log.js';
import type { LogLines, MalformedLine } from '../../src/replay/log-line.js';
import { readLog } from '../../src/replay/read-log.js';

const MAX_U64 = 0xffff_ffff_ffff_ffffn;

const u64 = fc.bigInt({ min: 0n, max: MAX_U64 });
const id = fc.nat(0x7fff_ffff);
const result = fc.oneof(fc.constant(0), fc.integer({ min: -133, max: -1 }));
const line = fc.integer({ min: 1, max: 1_000_000 });
const word = fc.stringMatching(/^[!-~]{1,20}$/);
const range = fc.tuple(u64, u64).map(([a, b]) => (a <= b ? { iova: a, last: b } : { iova: b, last: a }));
/** A sentence as a log may have it: anything that stays on one line, hostile characters and all. */
const sentence = fc.string({ unit: 'binary', maxLength: 40 }).map((text) => text.replaceAll('\n', ' '));

const vfioCall = {
  line,
  container: u64,
  iova: u64,
  length: u64,
  result,
};
const vfioOptional = { text: sentence, sourceLine: fc.nat(999_999_999) };

export const vfioEvents: fc.Arbitrary<VfioEvent> = fc.oneof(
  fc
    .tuple(
      fc.record({ type: fc.constant('vfio-map' as const), ...vfioCall, uptr: u64 }),
      fc.record(vfioOptional, { requiredKeys: [] }),
    )
    .map(([call, more]) => ({ ...call, ...more })),
  fc
    .tuple(
      fc.record({ type: fc.constant('vfio-unmap' as const), ...vfioCall }),
      fc.record(vfioOptional, { requiredKeys: [] }),
    )
    .map(([call, more]) => ({ ...call, ...more })),
);

const ranged = <Type extends string>(type: Type) =>
  fc.tuple(fc.record({ type: fc.constant(type), line, domain: id }), range);

export const viommuEvents: fc.Arbitrary<ViommuEvent> = fc.oneof(
  fc
    .tuple(ranged('viommu-map'), fc.record({ physical: u64, flags: fc.nat(7) }))
    .map(([[event, where], more]) => ({ ...event, ...where, ...more })),
  ranged('viommu-unmap').map(([event, where]) => ({ ...event, ...where })),
  ranged('viommu-unmap-done').map(([event, where]) => ({ ...event, ...where })),
  fc.record({
    type: fc.constant('viommu-translate' as const),
    line,
    region: word,
    endpoint: id,
    iova: u64,
    access: fc.nat(3),
  }),
  fc.record({
    type: fc.constant('viommu-translated' as const),
    line,
    iova: u64,
    physical: u64,
    endpoint: id,
  }),
  fc.record({
    type: fc.constantFrom('viommu-attach' as const, 'viommu-detach' as const),
    line,
    domain: id,
    endpoint: id,
  }),
  fc
    .tuple(
      fc.record({ type: fc.constant('viommu-reserved' as const), line, endpoint: id, kind: fc.nat(1) }),
      range,
    )
    .map(([event, where]) => ({ ...event, ...where })),
  fc.record({ type: fc.constant('viommu-free-domain' as const), line, domain: id }),
  fc.record({ type: fc.constant('viommu-free-endpoint' as const), line, endpoint: id }),
);

const iommufdCall = { line, iommufd: id, result };
const iommufdRange = { ...iommufdCall, ioas: id, iova: u64, length: u64 };

export const iommufdEvents: fc.Arbitrary<IommufdEvent> = fc.oneof(
  fc.record({
    type: fc.constant('iommufd-connect' as const),
    line,
    fd: fc.integer({ min: -1, max: 1000 }),
    owned: fc.boolean(),
    users: id,
  }),
  fc.record({ type: fc.constant('iommufd-disconnect' as const), line, fd: id, users: id }),
  fc.record({ type: fc.constant('iommufd-alloc-ioas' as const), line, iommufd: id, ioas: id }),
  fc.record({
    type: fc.constant('iommufd-map-dma' as const),
    ...iommufdRange,
    uptr: u64,
    readonly: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('iommufd-map-file-dma' as const),
    ...iommufdRange,
    fd: id,
    start: u64,
    readonly: fc.boolean(),
  }),
  fc.record({
    type: fc.constantFrom('iommufd-unmap-dma' as const, 'iommufd-unmap-dma-non-exist' as const),
    ...iommufdRange,
  }),
  fc.record({
    type: fc.constant('iommufd-alloc-hwpt' as const),
    ...iommufdCall,
    device: id,
    parent: id,
    flags: u64,
    dataType: id,
    dataLength: id,
    dataPointer: u64,
    hwpt: id,
  }),
  fc.record({ type: fc.constant('iommufd-free-id' as const), ...iommufdCall, id }),
  fc.record({
    type: fc.constant('iommufd-set-dirty' as const),
    ...iommufdCall,
    hwpt: id,
    enable: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('iommufd-get-dirty-bitmap' as const),
    ...iommufdCall,
    hwpt: id,
    iova: u64,
    length: u64,
    flags: u64,
    pageSize: u64,
  }),
);

/** All events of a log. */
export async function eventsOf(lines: LogLines): Promise<(LogEvent | MalformedLine)[]> {
  const events: (LogEvent | MalformedLine)[] = [];
  for await (const event of readLog(lines)) events.push(event);
  return events;
}

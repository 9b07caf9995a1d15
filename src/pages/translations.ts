/** What domains know of areas: entering the frames of an area into one domain, and taking them out again. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { byteLength, join } from '../u64.js';
import { iovaOfIndex, isPageAligned, lastIovaOfIndex, type MappedArea, pageCount } from './mapped-area.js';

/** Maps an area's frames into one domain; if a request fails, those before it are unmapped again. */
export function mapArea(
  domain: IommuDomain,
  area: MappedArea,
  frames: FrameRuns,
  largePages: boolean,
  faults: FaultInjector | undefined,
): void {
  if (domain.pages !== undefined && isPageAligned(area)) {
    if (largePages) {
      faultPoint(faults, 'domain-map');
      domain.pages.map(area.page, frames, 0, frames.frames, area.prot);
    } else mapPageByPage(domain, area, frames, faults);
    return;
  }
  let done = area.index;
  try {
    frames.forEachRun(0, frames.frames, (pfn, count, position) => {
      const step = largePages ? count : 1;
      for (let at = 0; at < count; at += step) {
        const index = area.index + position + at;
        faultPoint(faults, largePages ? 'domain-map' : 'domain-map-page');
        mapFrames(domain, area, index, pfn + at, step);
        done = index + step;
      }
    });
  } catch (error) {
    if (done > area.index) unmapIndexes(domain, area, area.index, done - 1);
    throw error;
  }
}

function mapPageByPage(
  domain: IommuDomain,
  area: MappedArea,
  frames: FrameRuns,
  faults: FaultInjector | undefined,
): void {
  const operations = domain.pages!;
  let done = 0;
  try {
    for (; done < frames.frames; done++) {
      faultPoint(faults, 'domain-map-page');
      operations.map(area.page + done, frames, done, 1, area.prot);
    }
  } catch (error) {
    if (done > 0) operations.unmap(area.page, done);
    throw error;
  }
}

function mapFrames(domain: IommuDomain, area: MappedArea, index: number, pfn: number, count: number): void {
  const first = iovaOfIndex(area, index);
  const last = lastIovaOfIndex(area, index + count - 1);
  const iova = join(first.page, first.offset);
  const size = join(last.page, last.offset) - iova + 1n;
  domain.map(iova, join(pfn, index === area.index ? area.pageOffset : 0), size, area.prot);
}

/** Unmaps the whole area from a domain, in one request. */
export function unmapArea(domain: IommuDomain, area: MappedArea): void {
  if (domain.pages !== undefined && isPageAligned(area)) domain.pages.unmap(area.page, pageCount(area));
  else domain.unmap(join(area.page, area.offset), byteLength(area));
}

function unmapIndexes(domain: IommuDomain, area: MappedArea, first: number, last: number): void {
  const from = iovaOfIndex(area, first);
  const to = lastIovaOfIndex(area, last);
  const iova = join(from.page, from.offset);
  domain.unmap(iova, join(to.page, to.offset) - iova + 1n);
}

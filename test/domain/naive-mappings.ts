/** What a domain maps, kept so simply that it is plainly right: a list of extents in 4096-byte pages. */

/** Consecutive pages with consecutive frames. */
export interface Extent {
  readonly page: number;
  readonly count: number;
  readonly frame: number;
  readonly protection: number;
}

export class NaiveMappings {
  extents: Extent[] = [];

  find(page: number): Extent | undefined {
    return this.extents.find((extent) => page >= extent.page && page < extent.page + extent.count);
  }

  /** The frame of a page, or −1. */
  frameAt(page: number): number {
    const extent = this.find(page);
    return extent === undefined ? -1 : extent.frame + (page - extent.page);
  }

  overlaps(page: number, count: number): boolean {
    return this.extents.some((extent) => page < extent.page + extent.count && extent.page < page + count);
  }

  map(extent: Extent): void {
    this.extents.push(extent);
  }

  unmap(page: number, count: number): void {
    this.extents = this.extents.flatMap((extent) => {
      const past = extent.page + extent.count;
      const left = Math.min(past, page) - extent.page;
      const right = past - Math.max(extent.page, page + count);
      if (left + right >= extent.count) return [extent];
      const parts: Extent[] = [];
      if (left > 0) parts.push({ ...extent, count: left });
      if (right > 0) {
        const skip = extent.count - right;
        parts.push({ ...extent, page: extent.page + skip, frame: extent.frame + skip, count: right });
      }
      return parts;
    });
  }

  get pages(): number {
    return this.extents.reduce((sum, { count }) => sum + count, 0);
  }
}

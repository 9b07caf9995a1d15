/**
 * An order of page frames in which neighbours are far apart, computed instead of stored.
 */

/** A prime, so that the distance between neighbours is hardly ever a power of two and shares no cache lines. */
const MOST_COLUMNS = 13;

/**
 * A bijection of 0..size − 1 in which no number is followed by its successor.
 *
 * The pages are written row by row into a table of 13 columns and the frames are read column by column, the last
 * column first: neighbouring pages are about a thirteenth of the memory apart.
 */
export class ScatteredOrder {
  /** Number of columns. */
  readonly columns: number;
  /** First frame of each column. */
  readonly starts: Float64Array;

  constructor(size: number) {
    const columns = Math.min(MOST_COLUMNS, size);
    this.columns = columns;
    this.starts = new Float64Array(columns);
    let start = 0;
    for (let column = columns - 1; column >= 0; column--) {
      this.starts[column] = start;
      start += Math.ceil((size - column) / columns);
    }
  }

  /** The frame of page `page`. */
  frameOf(page: number): number {
    const row = Math.floor(page / this.columns);
    return this.starts[page - row * this.columns]! + row;
  }

  /** The page of frame `frame`. */
  pageOf(frame: number): number {
    let column = 0;
    while (this.starts[column]! > frame) column++;
    return (frame - this.starts[column]!) * this.columns + column;
  }

  /** Calls `visit` with the frames of `count` pages from `page` on as runs (first frame, length), in no order of pages. */
  forEachRun(page: number, count: number, visit: (frame: number, frames: number) => void): void {
    const { columns } = this;
    const runs = Math.min(columns, count);
    for (let run = 0; run < runs; run++) visit(this.frameOf(page + run), Math.ceil((count - run) / columns));
  }

  /** Calls `visit` with the frames of `count` pages from `page` on, in order. */
  forEach(page: number, count: number, visit: (frame: number) => void): void {
    let row = Math.floor(page / this.columns);
    let column = page - row * this.columns;
    for (let left = count; left > 0; left--) {
      visit(this.starts[column]! + row);
      if (++column === this.columns) {
        column = 0;
        row++;
      }
    }
  }
}

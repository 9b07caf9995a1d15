/**
 * How figures grow with the size.
 */

/** A figure at a size. */
export interface Point {
  readonly size: number;
  readonly value: number;
}

/** Laws fitted to points by least squares. */
export interface Growth {
  /** p of value = c · size^p, fitted to the logarithms. */
  readonly exponent: number;
  /** How much of the variance value = a + b · log2(size) explains: 1 all, 0 none. */
  readonly logarithmic: number;
  /** b of that law: what each doubling adds. */
  readonly perDoubling: number;
}

/** A straight line through points. */
interface Line {
  readonly slope: number;
  readonly explained: number;
}

function lineThrough(xs: readonly number[], ys: readonly number[]): Line {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(xs), mean(ys)];
  let [xx, xy, yy] = [0, 0, 0];
  for (const [at, x] of xs.entries()) {
    const [dx, dy] = [x - meanX, ys[at]! - meanY];
    xx += dx * dx;
    xy += dx * dy;
    yy += dy * dy;
  }
  return { slope: xy / xx, explained: yy === 0 ? 1 : (xy * xy) / (xx * yy) };
}

/** Fits the laws to at least three points; `undefined` for fewer. */
export function growthOf(points: readonly Point[]): Growth | undefined {
  if (points.length < 3) return undefined;
  const doublings = points.map(({ size }) => Math.log2(size));
  const power = lineThrough(
    doublings,
    points.map(({ value }) => Math.log2(value)),
  );
  const linear = lineThrough(
    doublings,
    points.map(({ value }) => value),
  );
  return { exponent: power.slope, logarithmic: linear.explained, perDoubling: linear.slope };
}

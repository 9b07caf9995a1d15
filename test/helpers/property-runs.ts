/**
 * How many runs a property gets that usually has `usual`. `PROPERTY_PART=0.1` gives each a tenth of its runs, where
 * tests are repeated often (`npm run mutation`), and `PROPERTY_PART=10` looks harder.
 */
export function propertyRuns(usual: number): number {
  return Math.ceil(usual * Number(process.env.PROPERTY_PART ?? 1));
}

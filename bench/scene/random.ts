/**
 * Random orders that are the same in every run.
 */

const SEED = 0x2545_f491;

/** A generator of numbers from 0 to below 1 (xorshift32). */
export function randomNumbers(seed = SEED): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** The numbers from 0 to `count` − 1 in random order. */
export function shuffled(count: number, random: () => number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, at) => at);
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    const taken = order[at]!;
    order[at] = order[other]!;
    order[other] = taken;
  }
  return order;
}

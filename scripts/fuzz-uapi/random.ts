/** Random choices that are the same in every run with the same seed. */

/** A generator of choices (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Any 32-bit number. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** Any 64-bit number. */
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** A whole number from 0 to below `count`. */
  below(count: number): number {
    return Math.floor((this.u32() / 2 ** 32) * count);
  }

  /** True in `percent` of 100 cases. */
  chance(percent: number): boolean {
    return this.below(1000) < percent * 10;
  }

  /** One of several. */
  one<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}

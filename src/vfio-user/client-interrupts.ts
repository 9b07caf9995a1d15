/** The interrupts that a client waits for. */
import type { DescriptorSupport } from './descriptors.js';

/** Told of interrupts: of a vector, and how often it was signalled since it was last told so. */
export type InterruptHandler = (vector: number, times: number) => void;

interface Vector {
  readonly descriptor: number;
  readonly stop: () => void;
}

/** Eventfds of interrupts, by index and vector. */
export class ClientInterrupts {
  readonly #support: DescriptorSupport;
  readonly #vectors = new Map<string, Vector>();

  constructor(support: DescriptorSupport) {
    this.#support = support;
  }

  /** New eventfds for vectors from `start` on, which replace older ones. */
  add(index: number, start: number, count: number, handler: InterruptHandler): number[] {
    const added: number[] = [];
    for (let vector = start; vector < start + count; vector++) {
      this.#remove(`${index} ${vector}`);
      const descriptor = this.#support.createEventfd();
      const stop = this.#support.watch(descriptor, () => {
        const times = Number(this.#support.takeCount(descriptor));
        if (times > 0) handler(vector, times);
      });
      this.#vectors.set(`${index} ${vector}`, { descriptor, stop });
      added.push(descriptor);
    }
    return added;
  }

  /** Gives up the eventfds of an index, or all. */
  clear(index?: number): void {
    for (const key of this.#vectors.keys()) {
      if (index === undefined || key.startsWith(`${index} `)) this.#remove(key);
    }
  }

  #remove(key: string): void {
    const vector = this.#vectors.get(key);
    if (vector === undefined) return;
    this.#vectors.delete(key);
    vector.stop();
    this.#support.close(vector.descriptor);
  }
}

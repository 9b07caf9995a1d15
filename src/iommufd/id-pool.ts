/** Handing out object ids: the lowest free one first. */

/** A pool of ids that begin with `first`. */
export class IdPool {
  #next: number;
  /** Ids below `#next` that are free again, as a binary heap with the lowest on top. */
  readonly #free: number[] = [];

  constructor(first: number) {
    this.#next = first;
  }

  /** Takes the lowest free id. */
  take(): number {
    const heap = this.#free;
    const lowest = heap[0];
    if (lowest === undefined) return this.#next++;
    const moved = heap.pop()!;
    if (heap.length > 0) this.#sink(moved);
    return lowest;
  }

  /** Makes a taken id free again. */
  give(id: number): void {
    const heap = this.#free;
    let at = heap.length;
    heap.push(id);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= id) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = id;
  }

  #sink(id: number): void {
    const heap = this.#free;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child += 1;
      if (heap[child]! >= id) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = id;
  }
}

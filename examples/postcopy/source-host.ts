/**
 * The host that a guest has left: it has the pages, and sends them when it is asked.
 */

/** A request that is on its way. */
interface Request {
  readonly page: number;
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** A host at the other end of a wire. Nothing arrives before `deliver` or `disconnect` is called. */
export class SourceHost {
  readonly #page: (page: number) => Uint8Array;
  readonly #requests: Request[] = [];
  /** Pages sent. */
  sent = 0;

  /** @param page - the bytes of a page of the guest, counted from 0 */
  constructor(page: (page: number) => Uint8Array) {
    this.#page = page;
  }

  /** Pages that were asked for and have not arrived. */
  get requested(): readonly number[] {
    return this.#requests.map(({ page }) => page);
  }

  fetch(page: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => this.#requests.push({ page, resolve, reject }));
  }

  /** Lets arrive what was asked for so far. */
  deliver(): void {
    for (const { page, resolve } of this.#requests.splice(0)) {
      this.sent += 1;
      resolve(this.#page(page));
    }
  }

  /** The wire is cut: what was asked for never arrives. */
  disconnect(): void {
    for (const { reject } of this.#requests.splice(0)) reject(new Error('the source host is gone'));
  }

  /** Delivers until `done` settles. */
  async deliverUntil<T>(done: Promise<T>): Promise<T> {
    let settled = false;
    const note = () => {
      settled = true;
    };
    done.then(note, note);
    while (!settled) {
      this.deliver();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return done;
  }
}

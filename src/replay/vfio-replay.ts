/**
 * Replays QEMU's VFIO container calls: every container is an IOVA space.
 */
import { ERRNO } from '../errors.js';
import { hex } from '../u64.js';
import type { ReplayJournal, ReplayStep } from './figures.js';
import { ReplaySpace, type SpaceOptions } from './replay-space.js';
import type { VfioEvent } from './vfio-log.js';

/** The containers of a log on the model. */
export class VfioReplay {
  readonly #spaces = new Map<bigint, ReplaySpace>();
  readonly #options: SpaceOptions;
  readonly #journal: ReplayJournal;

  constructor(options: SpaceOptions, journal: ReplayJournal) {
    this.#options = options;
    this.#journal = journal;
  }

  /** The IOVA spaces, in the order in which the log names them. */
  get spaces(): Iterable<ReplaySpace> {
    return this.#spaces.values();
  }

  /** Runs a call and compares the answers: they agree if both succeed or both fail with the same errno. */
  async apply(event: VfioEvent): Promise<ReplayStep> {
    const space = await this.#spaceOf(event.container);
    const { line, iova, length } = event;
    const where = length === 0n ? `0 bytes at ${hex(iova)}` : range(iova, length);
    const [operation, answer] =
      event.type === 'vfio-map'
        ? [`map ${where} from user ${hex(event.uptr)}`, await space.map(iova, event.uptr, length, 'rw')]
        : [`unmap ${where}`, await space.unmap(iova, length)];
    const logged = errnoName(event.result);
    const step = { line, operation, logged, answer, space };
    if (answer.code === logged) return step;
    const divergence = { line, operation, logged, answered: answer.code, reason: answer.because };
    this.#journal.diverge(divergence);
    return { ...step, divergence };
  }

  async #spaceOf(container: bigint): Promise<ReplaySpace> {
    const known = this.#spaces.get(container);
    if (known !== undefined) return known;
    const space = await ReplaySpace.create(`container ${hex(container)}`, this.#options);
    this.#spaces.set(container, space);
    return space;
  }
}

function range(iova: bigint, length: bigint): string {
  return `[${hex(iova)}, ${hex(iova + length - 1n)}]`;
}

/** The name of a kernel's answer: 0 is `OK`, −2 `ENOENT`; a number that the model never gives is `errno N`. */
export function errnoName(result: number): string {
  if (result === 0) return 'OK';
  const known = Object.entries(ERRNO).find(([, number]) => number === -result);
  return known?.[0] ?? `errno ${-result}`;
}

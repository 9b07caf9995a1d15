/**
 * Measuring the IOVA spaces of a log together.
 */
import type { ReplayFigures } from './figures.js';
import type { HoleFigures } from './holes.js';
import type { NamedSpace } from './replay-space.js';

/** The figures that are about all spaces of a log. */
export class SpacesMeter {
  readonly #areas = new Map<NamedSpace, number>();
  #allAreas = 0;
  #peakAreas = 0;
  #largestHole = 0n;
  #fragmentation = 0;

  /** A space may have other areas now. */
  look(space: NamedSpace): void {
    this.#count(space, space.table.areaCount);
    this.#peakAreas = Math.max(this.#peakAreas, this.#allAreas);
  }

  /** A space has come to its end; what was free in it just before. */
  end(space: NamedSpace, { largestHole, fragmentation }: HoleFigures): void {
    if (largestHole > this.#largestHole) this.#largestHole = largestHole;
    this.#fragmentation = Math.max(this.#fragmentation, fragmentation);
    this.#count(space, 0);
    this.#areas.delete(space);
  }

  get figures(): Pick<ReplayFigures, 'peakAreas' | 'largestHole' | 'fragmentation'> {
    return {
      peakAreas: this.#peakAreas,
      largestHole: this.#largestHole,
      fragmentation: this.#fragmentation,
    };
  }

  #count(space: NamedSpace, areas: number): void {
    this.#allAreas += areas - (this.#areas.get(space) ?? 0);
    this.#areas.set(space, areas);
  }
}

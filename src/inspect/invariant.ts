/**
 * What a check throws.
 */

/** An invariant that does not hold: a defect of the library, or of a domain or memory it was given. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  /** The broken invariant, in words that don't change. */
  readonly invariant: string;

  constructor(invariant: string, detail: string) {
    super(`invariant broken: ${invariant}: ${detail}`);
    this.invariant = invariant;
  }
}

/** Says that an invariant does not hold. */
export function broken(invariant: string, detail: string): never {
  throw new InvariantError(invariant, detail);
}

/** Checks the links, colours, order and size of a tree. @throws InvariantError naming the tree */
export function checkTree(name: string, tree: { verify(): void } | undefined): void {
  try {
    tree?.verify();
  } catch (error) {
    broken(`${name} is sound`, (error as Error).message);
  }
}

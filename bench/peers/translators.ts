/**
 * The packages that a translation could be built on, each used as its own README shows: a range of IOVA as the
 * key, and where it leads to as the value.
 */
import PlainTree from '@flatten-js/interval-tree';
import { IntervalTree as NodeIntervalTree } from 'node-interval-tree';
import sortedBtree from 'sorted-btree';

/** A mapping, both bounds inclusive. Numbers: none of the packages needs a bigint below 2^53. */
export interface Mapping {
  readonly low: number;
  readonly high: number;
  readonly physical: number;
}

/** Finds the physical address behind an IOVA. */
export interface Translator {
  readonly name: string;
  insert(mapping: Mapping): void;
  translate(iova: number): number | undefined;
}

/** What is used of `@flatten-js/interval-tree`; its own declarations do not resolve under `nodenext`. */
export interface PlainIntervalTree<V, K = number> {
  insert(key: [K, K], value: V): unknown;
  remove(key: [K, K], value: V): unknown;
  search(key: [K, K]): V[];
}

/** Makes a plain tree of the package. */
export const createPlainTree = <V, K = number>(): PlainIntervalTree<V, K> => new PlainTree();

/** `@flatten-js/interval-tree`. */
export class PlainTreeTranslator implements Translator {
  readonly name = '@flatten-js/interval-tree';
  readonly #tree = createPlainTree<Mapping>();

  insert(mapping: Mapping): void {
    this.#tree.insert([mapping.low, mapping.high], mapping);
  }

  translate(iova: number): number | undefined {
    const [found] = this.#tree.search([iova, iova]);
    return found && found.physical + iova - found.low;
  }
}

/** `node-interval-tree`. */
export class NodeTreeTranslator implements Translator {
  readonly name = 'node-interval-tree';
  readonly #tree = new NodeIntervalTree<Mapping>();

  insert(mapping: Mapping): void {
    this.#tree.insert(mapping);
  }

  translate(iova: number): number | undefined {
    const [found] = this.#tree.search(iova, iova);
    return found && found.physical + iova - found.low;
  }
}

/** `sorted-btree`: no interval tree, but ranges that do not overlap can be found by their start. */
export class SortedTreeTranslator implements Translator {
  readonly name = 'sorted-btree';
  readonly #tree = new sortedBtree.default<number, Mapping>();

  insert(mapping: Mapping): void {
    this.#tree.set(mapping.low, mapping);
  }

  translate(iova: number): number | undefined {
    const found = this.#tree.getPairOrNextLower(iova)?.[1];
    return found && found.high >= iova ? found.physical + iova - found.low : undefined;
  }
}

/**
 * The objects of one context: address spaces, page tables, devices, accesses and what drivers add share one id
 * space.
 */
import { IommuError, refuse } from '../errors.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import { checkInteger } from '../u64.js';
import { IdPool } from './id-pool.js';

const LARGEST_ID = 0xffff_ffff;

/** An object of a context. */
export abstract class IommufdObject {
  /** Its id, unique among all objects of the context that exist now. */
  readonly id: number;
  /**
   * Other objects, drivers and calls in progress that need it to exist.
   *
   * @internal
   */
  users = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** What kind of object it is, in words. */
  abstract readonly kind: string;

  /**
   * Who uses it, in words, for the EBUSY of a destroy.
   *
   * @internal
   */
  abstract describeUsers(): string;

  /**
   * Takes the object apart. It can no longer be found. Called only inside `exclusively`.
   *
   * @internal
   */
  abstract dispose(): Promise<void>;

  /**
   * Runs `work` alone among those that may start or end the use of the object.
   *
   * @internal
   */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }
}

/**
 * Hands the id of an object over while the object is being made: it cannot be found yet, and is not made if that fails.
 */
export type DeliverId = (id: number) => void | Promise<void>;

/** A class of objects that can be asked for. */
export interface ObjectType<T extends IommufdObject> {
  new (...parts: never[]): T;
  /** What the class is called in errors. */
  readonly kind: string;
}

/** The objects of a context by id. Ids begin with 1; the lowest free one is taken first. */
export class ObjectTable {
  readonly #ids = new IdPool(1);
  readonly #objects = new Map<number, IommufdObject>();
  readonly #faults: FaultInjector | undefined;
  #taken = 0;

  constructor(faults?: FaultInjector) {
    this.#faults = faults;
  }

  /** Whether no object exists, is being made or is being destroyed. */
  get empty(): boolean {
    return this.#taken === 0;
  }

  /** The objects that can be found now, in the order in which they were made. */
  all(): IommufdObject[] {
    return [...this.#objects.values()];
  }

  /** The objects of one class that can be found now. */
  allOf<T extends IommufdObject>(type: ObjectType<T>): T[] {
    return this.all().filter((object): object is T => object instanceof type);
  }

  /**
   * Makes an object. It has its id from the start and can be found once `make` is done.
   *
   * @throws what `make` throws; the id is free again then. ENOMEM is left to fault injection.
   */
  async create<T extends IommufdObject>(make: (id: number) => T | Promise<T>): Promise<T> {
    faultPoint(this.#faults, 'object');
    const id = this.#ids.take();
    this.#taken += 1;
    try {
      const made = make(id);
      const object = made instanceof IommufdObject ? made : await made;
      this.#objects.set(id, object);
      return object;
    } catch (error) {
      this.#giveUp(id);
      throw error;
    }
  }

  /** Whether an object can be found still. */
  has(object: IommufdObject): boolean {
    return this.#objects.get(object.id) === object;
  }

  /** The object with an id, of whatever kind. */
  find(id: number): IommufdObject | undefined {
    checkInteger(id, 'id', 0, LARGEST_ID);
    faultPoint(this.#faults, 'object-lookup');
    return this.#objects.get(id);
  }

  /**
   * The object with an id.
   *
   * @throws ENOENT if there is none, or it is of another kind.
   */
  get<T extends IommufdObject>(id: number, type: ObjectType<T>): T {
    const object = this.find(id);
    if (object instanceof type) return object;
    throw noObject(id, object, type);
  }

  /**
   * Destroys an object that nobody uses.
   *
   * @throws EBUSY if it is in use, ENOENT if another call destroyed it before this one's turn; nothing has changed then.
   */
  destroy(object: IommufdObject): Promise<void> {
    return object.exclusively(async () => {
      if (!this.has(object)) throw noSuchId(object.id);
      if (object.users > 0) {
        throw refuse('EBUSY', 'state', `${object.kind} ${object.id} is in use: ${object.describeUsers()}`);
      }
      await this.remove(object);
    });
  }

  /**
   * Takes an object out of sight and apart, whoever uses it; its id is free when it is gone. The caller is inside
   * the object's `exclusively`.
   */
  async remove(object: IommufdObject): Promise<void> {
    // Gone already; by now its id may be another object's.
    if (!this.has(object)) return;
    this.#objects.delete(object.id);
    try {
      await object.dispose();
    } finally {
      this.#giveUp(object.id);
    }
  }

  #giveUp(id: number): void {
    this.#taken -= 1;
    this.#ids.give(id);
  }
}

/** ENOENT: no object has the id. */
export function noSuchId(id: number): IommuError {
  return new IommuError('ENOENT', { check: 'object', id: String(id), detail: 'does not exist' });
}

function noObject(
  id: number,
  object: IommufdObject | undefined,
  type: { readonly kind: string },
): IommuError {
  const detail =
    object === undefined ? 'does not exist' : `is ${aKind(object.kind)}, not ${aKind(type.kind)}`;
  return new IommuError('ENOENT', { check: 'object', id: String(id), detail });
}

/** `a device`, `an access`; for messages. */
export function aKind(kind: string): string {
  return `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`;
}

/** `3 devices`, `1 device`; for messages. */
export function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

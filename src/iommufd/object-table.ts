/**
 * The objects of one context: address spaces, page tables, devices, accesses and what drivers add share one id
 * space.
 */
import { checkInteger } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import { isThenable, type Operation, unstoppable } from '../operation.js';
import { IdPool } from './id-pool.js';

const LARGEST_ID = 0xffff_ffff;

/** Something that was thrown and will be thrown on. */
export interface Complaint {
  readonly error: unknown;
}

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
  /**
   * What its driver threw at its end, where nothing could be refused any more.
   *
   * @internal
   */
  complaint: Complaint | undefined;

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
   * Begins the end of the object, which can no longer be found. What this throws refuses it: the object is there
   * again, and its end can be asked for again. Called only inside `exclusively`.
   *
   * @internal
   */
  *release(): Operation<void> {}

  /**
   * Takes the object apart, after `release`. It is gone, whatever this throws, and cannot be stopped.
   *
   * @internal
   */
  *dispose(): Operation<void> {}

  /**
   * Runs an operation alone among those that may start or end the use of the object.
   *
   * @internal
   */
  exclusively<T>(operation: Operation<T>): Operation<T> {
    return operation;
  }
}

/**
 * Hands the id of an object over while the object is being made: it cannot be found yet, and is not made if that fails.
 */
export type DeliverId = (id: number) => void | Promise<void>;

/** Hands an id over as a part of an operation. */
export function* delivering(id: number, deliver: DeliverId | undefined): Operation<void> {
  const answer = deliver?.(id);
  if (isThenable(answer)) yield () => answer;
}

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
  /** Objects that are being removed, and cannot be found meanwhile. */
  readonly #leaving = new Set<IommufdObject>();
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
    const objects = [...this.#objects.values()];
    return this.#leaving.size === 0 ? objects : objects.filter((object) => !this.#leaving.has(object));
  }

  /** The objects of one class that can be found now. */
  allOf<T extends IommufdObject>(type: ObjectType<T>): T[] {
    return this.all().filter((object): object is T => object instanceof type);
  }

  /** The objects of one class that are not gone yet, also those that can no longer be found. */
  remaining<T extends IommufdObject>(type: ObjectType<T>): T[] {
    return [...this.#objects.values()].filter((object): object is T => object instanceof type);
  }

  /**
   * Makes an object. It has its id from the start and can be found once it is made.
   *
   * @throws what `make` throws; the id is free again then. ENOMEM is left to fault injection.
   */
  *creation<T extends IommufdObject>(make: (id: number) => T | Operation<T>): Operation<T> {
    faultPoint(this.#faults, 'object');
    const id = this.#ids.take();
    this.#taken += 1;
    try {
      const made = make(id);
      const object = made instanceof IommufdObject ? made : yield* made;
      this.#objects.set(id, object);
      return object;
    } catch (error) {
      this.#giveUp(id);
      throw error;
    }
  }

  /** Whether an object can be found still. */
  has(object: IommufdObject): boolean {
    return this.#objects.get(object.id) === object && !this.#leaving.has(object);
  }

  /** The object with an id, of whatever kind. */
  find(id: number): IommufdObject | undefined {
    checkInteger(id, 'id', 0, LARGEST_ID);
    faultPoint(this.#faults, 'object-lookup');
    const object = this.#objects.get(id);
    return object !== undefined && this.#leaving.has(object) ? undefined : object;
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
   * @throws EBUSY if it is in use, ENOENT if another call destroyed it before this one's turn, and what refuses its
   * end; the object is as it was then.
   */
  destruction(object: IommufdObject): Operation<void> {
    return object.exclusively(this.#removalUnused(object));
  }

  /**
   * Takes an object out of sight and apart, whoever uses it; its id is free when it is gone. Nothing happens if it is
   * gone already. The caller is inside the object's `exclusively`.
   *
   * @throws what refuses its end: the object is in sight again then; and what taking it apart throws: it is gone then
   */
  *removal(object: IommufdObject): Operation<void> {
    // By now its id may be another object's.
    if (!this.has(object)) return;
    this.#leaving.add(object);
    try {
      yield* object.release();
    } catch (error) {
      this.#leaving.delete(object);
      throw error;
    }
    try {
      yield* unstoppable(object.dispose());
    } finally {
      this.#leaving.delete(object);
      this.#objects.delete(object.id);
      this.#giveUp(object.id);
    }
    if (object.complaint !== undefined) throw object.complaint.error;
  }

  *#removalUnused(object: IommufdObject): Operation<void> {
    if (!this.has(object)) throw noSuchId(object.id);
    if (object.users > 0) {
      throw refuse('EBUSY', 'state', `${object.kind} ${object.id} is in use: ${object.describeUsers()}`);
    }
    yield* this.removal(object);
  }

  #giveUp(id: number): void {
    this.#taken -= 1;
    this.#ids.give(id);
  }
}

/** Keeps objects in use while an operation works on them, so that nobody destroys them meanwhile. */
export function* holding<T>(objects: readonly IommufdObject[], operation: Operation<T>): Operation<T> {
  for (const object of objects) object.users += 1;
  try {
    return yield* operation;
  } finally {
    for (const object of objects) object.users -= 1;
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
  if (object === undefined) return noSuchId(id);
  const detail = `is ${aKind(object.kind)}, not ${aKind(type.kind)}`;
  return new IommuError('ENOENT', { check: 'object', id: String(id), detail });
}

/** EINVAL: an object is neither an address space nor a page table. */
export function noTarget(object: IommufdObject): IommuError {
  return new IommuError('EINVAL', {
    check: 'object',
    id: String(object.id),
    detail: `is ${aKind(object.kind)}, neither an address space nor a page table`,
  });
}

/** `a device`, `an access`; for messages. */
function aKind(kind: string): string {
  return `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`;
}

/** `3 devices`, `1 device`; for messages. */
export function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

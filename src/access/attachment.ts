/**
 * How an access is attached to a table, and what it pins there. Its calls are carried out one after the other.
 */
import { invalidType } from '../arguments.js';
import { during, refuse } from '../errors.js';
import { logAccess } from '../log.js';
import { answerOf, isThenable, mustWait, type Operation, unstoppable } from '../operation.js';
import { RwLock } from '../rw-lock.js';
import { addAccess, removeAccess } from '../table/access-list.js';
import { IovaSpace } from '../table/iova-space.js';
import { withBoth } from '../table/table-locks.js';
import type { AttachedAccess, TableState } from '../table/table-state.js';
import { firstOf, hex, type Interval, lengthOf, MAX_U64, PAGE_SIZE } from '../u64.js';
import { type PinnedPart, pinRange, unpinRange } from './pin.js';

/** What an access is told to let go of: `length` bytes from `iova` on. */
export interface UnmapNotice {
  readonly iova: bigint;
  readonly length: bigint;
}

/** Lets go of what was pinned in an area, before it returns or its promise resolves. */
type LetGo = (area: UnmapNotice) => void | PromiseLike<void>;

/** What an access is for tables. */
export class Attachment implements AttachedAccess {
  readonly iovaAlignment: number;
  readonly #onUnmap: LetGo | undefined;
  readonly #mutex = new RwLock();
  /** Where new pins, reads and writes go. */
  #table: IovaSpace | undefined;
  /** Where unpins go; differs from `#table` only while `onUnmap` runs for a change of table. */
  #unpinTable: IovaSpace | undefined;

  constructor(needsPin: boolean, onUnmap: LetGo | undefined) {
    this.iovaAlignment = needsPin ? PAGE_SIZE : 1;
    this.#onUnmap = onUnmap;
  }

  /** The table that it is attached to. */
  get table(): IovaSpace | undefined {
    return this.#table;
  }

  /** Whether it is in no table, and not just leaving one either. */
  get detached(): boolean {
    return this.#table === undefined && this.#unpinTable === undefined;
  }

  /** Whether none of its calls is in progress. */
  get idle(): boolean {
    return this.#mutex.free;
  }

  /** Whether it could be told to let go. */
  get letsGo(): boolean {
    return this.#onUnmap !== undefined;
  }

  notifyUnmap(area: UnmapNotice): void | PromiseLike<void> {
    const letGo = this.#onUnmap;
    return letGo?.(area);
  }

  /** `IoptAccess.attach` */
  attaching(table: IovaSpace): Operation<void> {
    return this.#change('attach', () => {
      if (this.#table !== undefined) throw refuse('EINVAL', 'state', 'the access is attached already');
      return checkTable(table);
    });
  }

  /** `IoptAccess.replace` */
  replacing(table: IovaSpace): Operation<void> {
    return this.#change('replace', () => {
      if (this.#table === undefined) throw notAttached();
      return checkTable(table);
    });
  }

  /** `IoptAccess.detach` */
  detaching(): Operation<void> {
    return this.#change('detach', () => undefined);
  }

  *#change(syscall: string, to: () => IovaSpace | undefined): Operation<void> {
    if (!this.#mutex.tryWrite()) yield () => this.#mutex.write();
    const old = this.#table;
    let joined: IovaSpace | undefined;
    try {
      const next = to();
      if (next === old) return;
      if (old !== this.#unpinTable) {
        throw refuse('EBUSY', 'state', 'the access is just leaving another table');
      }
      if (logAccess.enabled) logAccess('%s', syscall);
      this.#table = undefined;
      if (next !== undefined) {
        yield* withBoth(next.state, () => addAccess(next.state, this));
        joined = next;
      }
      if (old !== undefined) {
        if (this.#onUnmap !== undefined) yield* this.#leave();
        yield* withBoth(old.state, () => removeAccess(old.state, this));
      }
      this.#table = next;
      this.#unpinTable = next;
    } catch (error) {
      if (joined !== undefined) {
        const { state } = joined;
        yield* unstoppable(withBoth(state, () => removeAccess(state, this)));
      }
      this.#table = old;
      throw during(error, syscall);
    } finally {
      this.#mutex.releaseWrite();
    }
  }

  /** Has everything unpinned, with the mutex free so that the callback can. */
  *#leave(): Operation<void> {
    this.#mutex.releaseWrite();
    try {
      const answer = this.notifyUnmap({ iova: 0n, length: MAX_U64 });
      if (isThenable(answer)) yield* answerOf(answer);
    } finally {
      if (!this.#mutex.tryWrite()) yield mustWait(() => this.#mutex.write());
    }
  }

  /** Pins the pages behind a range, for an access that may pin. @throws as `IoptAccess.pin` */
  *pinning(range: Interval, write: boolean): Operation<PinnedPart[]> {
    if (logAccess.enabled) logAccess('pin %s + %s', hex(firstOf(range)), hex(lengthOf(range)));
    try {
      return yield* this.#locked(
        () => this.#table,
        (table) => pinRange(table, range, write),
      );
    } catch (error) {
      throw during(error, 'pin', firstOf(range), lengthOf(range));
    }
  }

  /** Takes back a pin of exactly this range. @throws as `IoptAccess.unpin` */
  *unpinning(range: Interval): Operation<void> {
    try {
      yield* this.#locked(
        () => this.#unpinTable,
        (table) => unpinRange(table, range),
      );
    } catch (error) {
      throw during(error, 'unpin', firstOf(range), lengthOf(range));
    }
  }

  /** Runs a step on the table, with its iova lock held for reading. @throws ENOENT if there is none */
  withTable<T>(step: (table: TableState) => Operation<T>): Operation<T> {
    return this.#locked(() => this.#table, step);
  }

  /** Runs a step with the access's mutex and the table's iova lock held. */
  *#locked<T>(tableOf: () => IovaSpace | undefined, step: (table: TableState) => Operation<T>): Operation<T> {
    if (!this.#mutex.tryWrite()) yield () => this.#mutex.write();
    try {
      const table = tableOf()?.state;
      if (table === undefined) throw notAttached();
      if (!table.iovaLock.tryRead()) yield () => table.iovaLock.read();
      try {
        return yield* step(table);
      } finally {
        table.iovaLock.releaseRead();
      }
    } finally {
      this.#mutex.releaseWrite();
    }
  }
}

function notAttached() {
  return refuse('ENOENT', 'state', 'the access is not attached to a table');
}

function checkTable(table: IovaSpace): IovaSpace {
  if (!(table instanceof IovaSpace)) throw invalidType(table, 'table', 'an IoPagetable');
  return table;
}

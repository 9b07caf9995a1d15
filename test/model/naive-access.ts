/**
 * The naive model's in-kernel access: pins and byte copies through a table.
 */

import type { NaivePage } from './naive-memory.js';
import { lastOf, MAX, meets, min, PAGE, Refusal } from './naive-ranges.js';
import { type Area, byteAt, type NaiveTable, type NaiveWorld, type Piece, pageOf } from './naive-table.js';

/** The part of a pin that goes through one area. */
export interface PinPiece extends Piece {
  readonly area: Area;
}

/** A live pin. */
export interface Pin {
  readonly iova: bigint;
  readonly length: bigint;
  readonly pieces: readonly PinPiece[];
}

/** An access; told to let go of a range, it drops every pin that overlaps it, unless it does not listen. */
export class NaiveAccess {
  readonly world: NaiveWorld;
  readonly needsPin: boolean;
  table: NaiveTable | undefined;
  pins: Pin[] = [];
  /** So many times more it ignores what it is told about areas (but not that it has to leave the table). */
  ignores = 0;
  /** It is the kernel's own: what it has pinned is locked, and nobody tells it anything. */
  locks = false;
  /** Leaves the table when it drops its pin, as the access behind a single pinned range does. */
  leaves = false;

  constructor(world: NaiveWorld, needsPin: boolean) {
    this.world = world;
    this.needsPin = needsPin;
    world.accesses.push(this);
  }

  /** The alignment that it imposes on a table. */
  alignmentIn(table: NaiveTable): bigint {
    return this.needsPin && table.rules.accessesAlign ? PAGE : 1n;
  }

  /** Goes to a table: EINVAL if it is in one. */
  attach(table: NaiveTable): void {
    if (this.table !== undefined) throw new Refusal('EINVAL');
    this.#change(table);
  }

  /** Moves to another table: ENOENT if it is in none. */
  replace(table: NaiveTable): void {
    if (this.table === undefined) throw new Refusal('ENOENT');
    this.#change(table);
  }

  /** Leaves its table, if it is in one. */
  detach(): void {
    this.#change(undefined);
  }

  #change(table: NaiveTable | undefined): void {
    const old = this.table;
    if (table === old) return;
    if (table !== undefined) {
      const alignment = this.alignmentIn(table);
      if (alignment > table.alignment) table.requireAlignment(alignment);
      const free = table.accesses.indexOf(undefined);
      if (free < 0) table.accesses.push(this);
      else table.accesses[free] = this;
    }
    if (old !== undefined) {
      this.told(0n, MAX);
      old.accesses[old.accesses.indexOf(this)] = undefined;
    }
    this.table = table;
  }

  /** The table tells it to let go of a range. */
  told(iova: bigint, length: bigint): void {
    if (this.locks) return;
    if (!this.leaves) this.world.notices.push({ access: this, iova, length });
    if (this.ignores > 0 && length !== MAX) {
      this.ignores -= 1;
      return;
    }
    const range = { start: iova, last: iova + length - 1n };
    const kept = this.pins.filter(
      (pin) => !meets({ start: pin.iova, last: pin.iova + pin.length - 1n }, range),
    );
    const dropped = kept.length < this.pins.length;
    this.pins = kept;
    if (this.leaves && dropped) this.detach();
  }

  /** Pins a range. */
  pin(iova: bigint, length: bigint, write: boolean): Pin {
    if (!this.needsPin) throw new Refusal('EINVAL');
    const last = lastOf(iova, length);
    const table = this.#attached();
    const pieces: PinPiece[] = [];
    const done = table.walk(iova, last, (area, first, until) => {
      if (area.closed) throw new Refusal('EINVAL');
      if (table.rules.pinsBeginOnPages && byteAt(area, first) % PAGE !== 0n) throw new Refusal('EINVAL');
      if (area.last < last && byteAt(area, area.last) % PAGE !== PAGE - 1n) throw new Refusal('EINVAL');
      requirePermission(area, write);
      if (area.backing.source.kind === 'dma-buf') throw new Refusal('EINVAL');
      const piece = {
        area,
        backing: area.backing,
        first: byteAt(area, first) / PAGE,
        last: byteAt(area, until) / PAGE,
      };
      this.world.requireMemory(piece, pieces);
      pieces.push(piece);
      this.world.requireAllowance(pieces);
    });
    if (!done) throw new Refusal(table.rules.holeInPin);
    const pin = { iova, length, pieces };
    this.pins.push(pin);
    return pin;
  }

  /** Pins a range with this access alone: attaches, pins, and leaves again if it cannot. Gives the number of pages. */
  hold(table: NaiveTable, iova: bigint, length: bigint, write: boolean): number {
    lastOf(iova, length);
    this.attach(table);
    try {
      return NaiveAccess.pages(this.pin(iova, length, write)).length;
    } catch (refusal) {
      this.detach();
      throw refusal;
    }
  }

  /** Ends a hold. */
  release(): void {
    this.pins = [];
    this.detach();
  }

  /** Takes a pin back. */
  unpin(pin: Pin): void {
    this.pins.splice(this.pins.indexOf(pin), 1);
  }

  /** The pages of a pin, in order. */
  static pages(pin: Pin): NaivePage[] {
    return pin.pieces.flatMap(({ backing, first, last }) =>
      Array.from({ length: Number(last - first) + 1 }, (_, at) => pageOf(backing, first + BigInt(at))!),
    );
  }

  /** Copies bytes from the mapped memory to `buffer`, or back. What was copied before an error stays. */
  rw(iova: bigint, buffer: Uint8Array, write: boolean, slow: boolean): void {
    const last = lastOf(iova, BigInt(buffer.length));
    const done = this.#attached().walk(iova, last, (area, first, until) => {
      if (area.closed) throw new Refusal('EINVAL');
      requirePermission(area, write);
      const { backing } = area;
      if (backing.source.kind === 'dma-buf') throw new Refusal('EINVAL');
      const [byte, lastByte] = [byteAt(area, first), byteAt(area, until)];
      const throughFrames = this.#throughFrames(area, byte / PAGE, lastByte / PAGE, slow);
      for (let at = byte; at <= lastByte; at = (at / PAGE + 1n) * PAGE) {
        const userPage = backing.start / PAGE + at / PAGE;
        if (!throughFrames && !this.world.process.accessible(userPage, write)) throw new Refusal('EFAULT');
        const page = throughFrames ? pageOf(backing, at / PAGE)!.bytes : this.world.process.page(userPage);
        const bytes = Number(min(lastByte, (at / PAGE) * PAGE + PAGE - 1n) - at) + 1;
        const offset = Number(at % PAGE);
        const position = Number(first - iova + (at - byte));
        if (write) page.set(buffer.subarray(position, position + bytes), offset);
        else buffer.set(page.subarray(offset, offset + bytes), position);
      }
    });
    if (!done) throw new Refusal('ENOENT');
  }

  /**
   * Whether a slice is copied from its pages, which are pinned for that as the backing says, and not as the process
   * would: that of a file always, that of a process on the slow path if it is of several pages.
   */
  #throughFrames({ backing }: Area, first: bigint, last: bigint, slow: boolean): boolean {
    const { process } = this.world;
    if (backing.source.kind === 'process' && !process.exited && (!slow || first === last)) return false;
    this.world.requireMemory({ backing, first, last }, []);
    return true;
  }

  #attached(): NaiveTable {
    if (this.table === undefined) throw new Refusal('ENOENT');
    return this.table;
  }
}

function requirePermission(area: Area, write: boolean): void {
  if (!area.prot.includes(write ? 'w' : 'r')) throw new Refusal('EPERM');
  if (write && !area.backing.writable) throw new Refusal('EPERM');
}

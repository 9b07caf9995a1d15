/** Checking a context: its tables together, and the bookkeeping of its objects. */
import { checkTables, InvariantError } from '../inspect/check.js';
import { IommufdAccess } from './access-object.js';
import { BoundDevice } from './bound-device.js';
import type { Context } from './context.js';
import { HwPagetable } from './hwpt.js';
import { Ioas } from './ioas.js';

/**
 * Checks a context, while no call is in progress.
 *
 * @throws InvariantError
 *
 * @internal
 */
export function checkObjects(context: Context): void {
  const { objects } = context;
  const spaces = objects.allOf(Ioas);
  checkTables(spaces.map((ioas) => ioas.table.state));
  const accesses = objects.allOf(IommufdAccess);
  for (const ioas of spaces) {
    const attached = accesses.filter((access) => access.ioas === ioas.id).length;
    expect('an address space is used by its page tables and accesses', ioas.id, [
      [ioas.users, ioas.hwpts.length + attached],
    ]);
    expect('the domains of a table are those of its page tables', ioas.id, [
      [ioas.table.domains.length, ioas.hwpts.length],
      [ioas.hwpts.filter((hwpt) => ioas.table.domains.includes(hwpt.domain)).length, ioas.hwpts.length],
    ]);
  }
  const devices = objects.allOf(BoundDevice);
  for (const hwpt of objects.allOf(HwPagetable)) {
    const attached = devices.filter((device) => device.hwpt === hwpt.id).length;
    expect('a page table is used by its devices', hwpt.id, [
      [hwpt.users, attached],
      [hwpt.devices.size, attached],
    ]);
    if (hwpt.traits.automatic && attached === 0) {
      throw new InvariantError('an automatic page table has devices', `page table ${hwpt.id} has none`);
    }
  }
}

function expect(invariant: string, id: number, pairs: readonly (readonly [number, number])[]): void {
  for (const [actual, expected] of pairs) {
    if (actual !== expected) throw new InvariantError(invariant, `object ${id}: ${actual}, not ${expected}`);
  }
}

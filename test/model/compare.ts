/**
 * Compares everything that can be seen of the library's objects with the naive model's.
 */
import assert from 'node:assert/strict';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { MAX, PAGE } from './naive-ranges.js';
import { type Backing, byteAt, type NaiveTable } from './naive-table.js';
import { hex } from './ops.js';
import { type DomainPair, type Pairs, USER_PAGES } from './pairs.js';

/** Compares tables, domains, pins, accounts, accesses and what they were told. Throws at the first difference. */
export function compareAll(pairs: Pairs): void {
  for (const [number, { library, model }] of pairs.tables.entries()) {
    library.check();
    assert.deepEqual(libraryState(library), modelState(model), `state of table ${number}`);
  }
  for (const [number, domain] of pairs.domains.entries()) compareDomain(domain, `domain ${number}`);
  comparePins(pairs);
  compareAccesses(pairs);
  pairs.holds = pairs.holds.filter(({ library, model }) => {
    assert.equal(library.released, model.table === undefined, 'whether a held range is released');
    return !library.released;
  });
}

function libraryState(table: IoPagetable): object {
  const { alignment, largePages, areas, reserved, allowed, domains, pages, accesses } = table.snapshot();
  return {
    alignment,
    largePages,
    areas: areas.map(({ storageDomain, ...area }) => ({ ...area, hasStorage: storageDomain !== null })),
    reserved: reserved.map(({ start, last }) => `${start}-${last}`).sort(),
    allowed: allowed.map(({ start, last }) => `${start}-${last}`).sort(),
    domains: domains.map(({ aperture }) => `${aperture.start}-${aperture.last}`),
    pages: pages.map(({ source, uptr, writable, pinned, references }) => {
      return { source, uptr, writable, pinned, references };
    }),
    accesses,
  };
}

function modelState(table: NaiveTable): object {
  const pinned = table.world.pinned();
  const everyArea = table.world.tables.flatMap(({ areas }) => areas);
  const backings = [...new Set(table.areas.map(({ backing }) => backing))];
  const references = (backing: Backing) => everyArea.filter((area) => area.backing === backing).length;
  return {
    alignment: Number(table.alignment),
    largePages: table.largePages,
    areas: table.areas.map((area) => ({
      iova: hex(area.start),
      last: hex(area.last),
      source: sourceOf(area.backing),
      uptr: hex(area.backing.start + area.startByte),
      prot: area.prot,
      pages: backings.indexOf(area.backing),
      pins: table.users(area),
      preventAccess: area.closed,
      hasStorage: table.domains.length > 0,
    })),
    reserved: table.reserved.map(({ start, last }) => `${hex(start)}-${hex(last)}`).sort(),
    allowed: table.allowed.map(({ start, last }) => `${hex(start)}-${hex(last)}`).sort(),
    domains: table.domains.map(({ aperture }) => `${hex(aperture.start)}-${hex(aperture.last)}`),
    pages: backings.map((backing) => ({
      source: sourceOf(backing),
      uptr: hex(backing.start),
      writable: backing.writable,
      pinned: pinned.get(backing)?.size ?? 0,
      references: references(backing),
    })),
    accesses: table.accesses.filter((access) => access !== undefined).length,
  };
}

function sourceOf({ source: { kind } }: Backing): string {
  return kind === 'process' ? 'user' : kind;
}

/** A domain translates the first byte of each page of each area, and nothing next to an area. */
function compareDomain({ library, model, table }: DomainPair, name: string): void {
  const compare = (iova: bigint): void => {
    assert.equal(
      library.iovaToPhys(iova),
      table?.model.translate(iova),
      `translation of ${hex(iova)} in ${name}`,
    );
  };
  assert.equal(table?.model.domains.includes(model), table && true);
  let bytes = 0n;
  for (const area of table?.model.areas ?? []) {
    bytes += area.last - area.start + 1n;
    for (let at = area.start; at <= area.last; at += PAGE - (byteAt(area, at) % PAGE)) compare(at);
    for (const at of [area.last, area.start - 1n, area.last + 1n]) if (at >= 0n && at <= MAX) compare(at);
  }
  if (library instanceof RadixDomain) assert.equal(library.mappedBytes, bytes, `bytes that ${name} maps`);
}

function comparePins({ memory, world, frames }: Pairs): void {
  const pins = world.pins();
  for (const [page, frame] of frames) {
    const expected = pins.get(world.process.pageAt(page)!) ?? 0;
    assert.equal(memory.physical.pins(Number(frame)), expected, `pins of user page ${hex(page * PAGE)}`);
  }
  if (memory.locked === undefined) return;
  assert.equal(BigInt(memory.locked.user.lockedPages), world.locked('user'), 'pages charged to the user');
  assert.equal(BigInt(memory.locked.mm.lockedPages), world.locked('mm'), 'pages charged to the process');
}

function compareAccesses({ accesses, tables, notices, world }: Pairs): void {
  for (const [number, { library, model, pins }] of accesses.entries()) {
    const table = tables.find((pair) => pair.model === model.table);
    assert.equal(library.table, table?.library, `table of access ${number}`);
    const expected = model.pins.map(({ iova, length }) => ({ iova, length }));
    assert.deepEqual(pins, expected, `pins of access ${number}`);
  }
  const told = world.notices.map(({ access, iova, length }) => {
    return { access: accesses.findIndex(({ model }) => model === access), iova, length };
  });
  assert.deepEqual(notices, told, 'what the accesses were told');
  notices.length = 0;
  world.notices.length = 0;
}

/** Compares all bytes of user memory that the process can read. */
export function compareMemory({ memory, world }: Pairs): void {
  const bytes = new Uint8Array(Number(PAGE));
  for (const page of USER_PAGES) {
    if (!world.process.accessible(page, false)) continue;
    assert.equal(memory.copyFromUser(Number(page), 0, bytes, 0, bytes.length), bytes.length);
    compareBytes(bytes, world.process.page(page), `user page ${hex(page * PAGE)}`);
  }
}

/** Compares two buffers. */
export function compareBytes(library: Uint8Array, model: Uint8Array, what: string): void {
  const at = library.findIndex((byte, position) => byte !== model[position]);
  if (at >= 0) assert.fail(`${what} differs at byte ${at}: ${library[at]}, model: ${model[at]}`);
}

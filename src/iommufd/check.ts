/** Checking a context: its tables together, and the bookkeeping of its objects. */
import { checkTables } from '../inspect/check.js';
import { broken } from '../inspect/invariant.js';
import { IommufdAccess } from './access-object.js';
import { BoundDevice } from './bound-device.js';
import type { Context } from './context.js';
import { HwQueue, QueueAccess } from './hw-queue.js';
import { HwPagetable } from './hwpt.js';
import { Ioas } from './ioas.js';
import type { ObjectTable } from './object-table.js';
import { Viommu } from './viommu.js';

/**
 * Checks a context, while no call is in progress.
 *
 * @throws InvariantError
 *
 * @internal
 */
export function checkObjects(context: Context): void {
  const { objects } = context;
  checkTables(objects.allOf(Ioas).map((ioas) => ioas.table.state));
  for (const object of objects.all()) {
    if (!objects.has(object)) broken('objects are found by their ids', `${object.kind} ${object.id} is not`);
  }
  for (const ioas of objects.allOf(Ioas)) checkIoas(objects, ioas);
  for (const hwpt of objects.allOf(HwPagetable)) checkHwpt(objects, hwpt);
  for (const device of objects.allOf(BoundDevice)) checkDevice(objects, device);
  for (const viommu of objects.allOf(Viommu)) checkViommu(objects, viommu);
  for (const access of objects.allOf(IommufdAccess)) {
    expect('an access is used by its driver', access.id, access.users, 1);
    if (access.ioas !== undefined && !objects.allOf(Ioas).some(({ id }) => id === access.ioas)) {
      broken('accesses are attached to address spaces that exist', `access ${access.id} is not`);
    }
  }
}

function checkIoas(objects: ObjectTable, ioas: Ioas): void {
  const { id, users, hwpts, table } = ioas;
  const accesses = objects.allOf(IommufdAccess).filter((access) => access.ioas === id);
  const locking = objects.allOf(QueueAccess).filter((access) => access.ioas === ioas);
  const attached = accesses.length + locking.length;
  expect('an address space is used by its page tables and accesses', id, users, hwpts.size + attached);
  const inTable = table.state.accesses.filter((access) => access !== undefined).length;
  // A program may have attached others to the table itself.
  if (inTable < attached) {
    broken('attached accesses are attached to the table', `object ${id}: ${attached}, but ${inTable} there`);
  }
  const mirrored = new Set([...hwpts].map(({ domain }) => domain));
  const same = table.domains.length === hwpts.size && table.domains.every((domain) => mirrored.has(domain));
  if (!same) broken('the domains of a table are those of its page tables', `object ${id}`);
  for (const hwpt of hwpts) {
    if (!objects.has(hwpt) || hwpt.ioas !== ioas) {
      broken('page tables of an address space exist and know it', `page table ${hwpt.id} of object ${id}`);
    }
  }
  for (let node = table.state.reserved.head(); node !== undefined; node = table.state.reserved.next(node)) {
    const { owner } = node.value;
    if (!(owner instanceof BoundDevice)) continue;
    if (![...hwpts].some(({ devices }) => devices.has(owner))) {
      broken('ranges are reserved for attached devices only', `device ${owner.name} in object ${id}`);
    }
  }
}

function checkHwpt(objects: ObjectTable, hwpt: HwPagetable): void {
  const { id, users, devices, viommus, ioas, traits } = hwpt;
  if (!objects.has(ioas) || !ioas.hwpts.has(hwpt)) {
    broken('a page table is one of its address space', `page table ${id}`);
  }
  expect('a page table is used by its devices and virtual IOMMUs', id, users, devices.size + viommus.size);
  for (const viommu of viommus) {
    if (!objects.has(viommu)) broken('virtual IOMMUs of a page table exist', `object ${viommu.id}`);
  }
  for (const device of devices) {
    if (!(device instanceof BoundDevice) || device.hwpt !== id || !objects.has(device)) {
      broken('devices of a page table exist and know it', `device ${device.id} of page table ${id}`);
    }
  }
  if (traits.automatic && devices.size === 0) {
    broken('an automatic page table has devices', `page table ${id} has none`);
  }
}

function checkDevice(objects: ObjectTable, device: BoundDevice): void {
  const { id, hwpt, name } = device;
  expect('a device is used by its driver', id, device.users, 1);
  const attached = objects.allOf(HwPagetable).find((candidate) => candidate.id === hwpt);
  if (hwpt !== undefined && !attached?.devices.has(device)) {
    broken('an attached device is one of its page table', `device ${name} of page table ${hwpt}`);
  }
}

function checkViommu(objects: ObjectTable, viommu: Viommu): void {
  const { id, parent, queues, users } = viommu;
  if (!objects.has(parent) || !parent.viommus.has(viommu)) {
    broken('a virtual IOMMU is one of its page table', `object ${id}`);
  }
  // Windows that programs have mapped are users, too.
  if (users < queues.size) broken('a virtual IOMMU is used by its queues', `object ${id}`);
  const existing = objects.allOf(HwQueue).filter((queue) => queue.viommu === viommu);
  for (const queue of existing) {
    const dependent = existing.filter(({ dependsOn }) => dependsOn === queue).length;
    expect('a hardware queue is used by those that depend on it', queue.id, queue.users, dependent);
    if (!queues.has(queue)) broken('hardware queues are known to their virtual IOMMU', `object ${queue.id}`);
    if (!objects.has(queue.access)) broken('a hardware queue has its access', `object ${queue.id}`);
  }
  expect('a virtual IOMMU knows the queues that exist', id, queues.size, existing.length);
}

function expect(invariant: string, id: number, actual: number, expected: number): void {
  if (actual !== expected) broken(invariant, `object ${id}: ${actual}, not ${expected}`);
}

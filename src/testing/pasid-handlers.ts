/**
 * The test driver's commands on PASIDs. They are not modelled: what the kernel refuses before it comes to them is refused
 * here, and none is ever attached.
 */
import { refuse } from '../errors.js';
import { HwPagetable } from '../iommufd/hwpt.js';
import { Ioas } from '../iommufd/ioas.js';
import type { Iommufd } from '../iommufd/iommufd.js';
import { noSuchId, noTarget } from '../iommufd/object-table.js';
import type { Handlers } from '../uapi/handlers.js';
import type { TEST_COMMANDS } from '../uapi/test-commands.js';
import type { TestTarget } from './test-target.js';

type PasidCommand =
  | 'TEST_PASID_ATTACH'
  | 'TEST_PASID_REPLACE'
  | 'TEST_PASID_DETACH'
  | 'TEST_PASID_CHECK_HWPT';

/** By name. */
export const pasidHandlers: Pick<Handlers<typeof TEST_COMMANDS, TestTarget>, PasidCommand> = {
  async TEST_PASID_ATTACH({ fields }, { driver, iommufd }) {
    const bound = driver.deviceOf(fields.id);
    const target = targetOf(iommufd, fields.ptId);
    if (fields.pasid === 0 && bound.hwpt !== undefined) {
      throw refuse('EBUSY', 'state', `device ${bound.name} is attached already`);
    }
    if (target instanceof Ioas) {
      throw refuse('EINVAL', 'argument', 'PASIDs are not attached to the page table of an address space');
    }
    throw refuse('EOPNOTSUPP', 'unsupported', 'PASIDs are not modelled');
  },

  async TEST_PASID_REPLACE({ fields }, { driver, iommufd }) {
    driver.deviceOf(fields.id);
    targetOf(iommufd, fields.ptId);
    throw refuse('EINVAL', 'state', `PASID ${fields.pasid} is not attached`);
  },

  async TEST_PASID_DETACH({ fields }, { driver }) {
    driver.deviceOf(fields.id);
  },

  async TEST_PASID_CHECK_HWPT({ fields }, { driver, iommufd }) {
    const { pasid, hwptId } = fields;
    const bound = driver.deviceOf(fields.id);
    const attached = pasid === 0 ? bound.hwpt : undefined;
    if (hwptId !== 0) {
      const table = iommufd.context.objects.find(hwptId);
      if (table === undefined) throw noSuchId(hwptId);
      if (!(table instanceof HwPagetable)) throw noTarget(table);
    }
    if ((attached ?? 0) !== hwptId) {
      throw refuse('EINVAL', 'state', `PASID ${pasid} is attached to table ${attached ?? 'none'}`);
    }
  },
};

/** What a PASID is to be attached to. @throws ENOENT if there is no such object, EINVAL if it is of another kind */
function targetOf({ context: { objects } }: Iommufd, id: number): Ioas | HwPagetable {
  const target = objects.find(id);
  if (target === undefined) throw noSuchId(id);
  if (target instanceof Ioas || target instanceof HwPagetable) return target;
  throw noTarget(target);
}

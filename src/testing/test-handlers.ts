/** The commands of the kernel's test driver. */
import { IommuError, refuse } from '../errors.js';
import { BoundDevice } from '../iommufd/bound-device.js';
import { fileOf, openFile } from '../uapi/device-caller.js';
import type { Handlers } from '../uapi/handlers.js';
import type { TEST_COMMANDS } from '../uapi/test-commands.js';
import { MOCK_ACCESS } from './mock-access.js';
import { pasidHandlers } from './pasid-handlers.js';
import type { MockDomainIds } from './test-driver.js';
import type { TestTarget } from './test-target.js';

/** By name. */
export const testHandlers: Handlers<typeof TEST_COMMANDS, TestTarget> = {
  ...pasidHandlers,

  async TEST_ADD_RESERVED({ fields }, { driver }) {
    await driver.addReserved({ ioas: fields.id, start: fields.start, length: fields.length });
  },

  async TEST_MOCK_DOMAIN(call, { driver }) {
    await driver.mockDomain({ pt: call.fields.id }, (ids) => call.respond(idFields(ids)));
  },

  async TEST_MOCK_DOMAIN_FLAGS(call, { driver }) {
    const { id, devFlags } = call.fields;
    await driver.mockDomain({ pt: id, flags: devFlags }, (ids) => call.respond(idFields(ids)));
  },

  async TEST_MOCK_DOMAIN_REPLACE(call, { driver }) {
    const { id, ptId } = call.fields;
    await call.respond({ ptId: await driver.mockDomainReplace({ testDevice: id, pt: ptId }) });
  },

  async TEST_MD_CHECK_MAP({ fields, user }, { driver }) {
    const { id, iova, length, uptr } = fields;
    await driver.checkMap({ hwpt: id, iova, length, uptr, memory: user.memory });
  },

  async TEST_MD_CHECK_REFS({ fields, user }, { driver }) {
    const { uptr, length, refs } = fields;
    await driver.checkRefs({ uptr, length, refs, memory: user.memory });
  },

  async TEST_MD_CHECK_IOTLB({ fields }) {
    throw new IommuError('ENOENT', {
      check: 'object',
      id: String(fields.id),
      detail: 'is not a nested page table; those are not modelled',
    });
  },

  async TEST_TRIGGER_IOPF({ fields }, { iommufd }) {
    iommufd.context.objects.get(fields.devId, BoundDevice);
  },

  async TEST_DEV_CHECK_CACHE({ fields }, { driver }) {
    await driver.checkCache({ device: fields.id, cache: fields.cacheId, value: fields.cache });
  },

  /** No device is ever attached to a nested page table of a virtual IOMMU. */
  async TEST_TRIGGER_VEVENT({ fields }, { iommufd }) {
    const { name } = iommufd.context.objects.get(fields.devId, BoundDevice);
    const detail = `(device ${name}) has no virtual device; those are not modelled`;
    throw new IommuError('ENOENT', { check: 'object', id: String(fields.devId), detail });
  },

  /** The answer is 0, not the descriptor: a slip of the kernel's. */
  async TEST_DMABUF_GET({ fields, caller }, { driver }) {
    const file = driver.dmaBufGet(fields.length);
    openFile(caller, { kind: 'dma-buf', file });
  },

  async TEST_DMABUF_REVOKE({ fields, caller }, { driver }) {
    const { fd, revoked } = fields;
    const opened = fileOf(caller, fd);
    if (opened.kind !== 'dma-buf') throw refuse('EINVAL', 'argument', `descriptor ${fd} is no dma-buf`);
    await driver.dmaBufRevoke(opened.file, revoked !== 0);
  },

  async TEST_SET_TEMP_MEMORY_LIMIT({ fields }, { driver }) {
    await driver.setTempMemoryLimit(fields.limit);
  },

  async TEST_CREATE_ACCESS(call, target) {
    const { id, flags } = call.fields;
    const deliver = (outAccessFd: number) => {
      target.fileOpened();
      return call.respond({ outAccessFd });
    };
    await target.driver.createAccess({ ioas: id, flags }, { deliver, afterClose: target.fileClosed });
  },

  async TEST_ACCESS_PAGES(call, { driver }) {
    const { id, flags, iova, length, uptr } = call.fields;
    const deliver = (outAccessPagesId: number) => call.respond({ outAccessPagesId });
    await driver.accessPages(id, { flags, iova, length, uptr }, call.user.memory, deliver);
  },

  async TEST_DESTROY_ACCESS_PAGES({ fields }, { driver }) {
    await driver.destroyAccessPages(fields.id, fields.accessPagesId);
  },

  async TEST_ACCESS_RW(call, { driver }) {
    const { id, flags, iova, length, uptr } = call.fields;
    const { user } = call;
    const source = async (count: number) => {
      const bytes = new Uint8Array(count);
      await user.read(uptr, bytes);
      return bytes;
    };
    const bytes = await driver.accessRw(id, { flags, iova, length, source }, user.memory);
    if ((flags & MOCK_ACCESS.WRITE) === 0) await user.write(uptr, bytes);
  },

  async TEST_ACCESS_REPLACE_IOAS({ fields }, { driver }) {
    await driver.accessReplaceIoas(fields.id, fields.ioasId);
  },

  async TEST_DIRTY(call, { driver }) {
    const { id, iova, length, pageSize, uptr } = call.fields;
    if (uptr === 0n) throw refuse('EINVAL', 'argument', 'there is no bitmap');
    const bitmap = async () => {
      const bytes = new Uint8Array(Number((length / pageSize + 7n) / 8n));
      await call.user.read(uptr, bytes);
      return bytes;
    };
    const marked = await driver.dirty({ hwpt: id, iova, length, pageSize, bitmap });
    await call.respond({ outNrDirty: BigInt(marked) });
  },
};

function idFields({ testDevice, device, hwpt }: MockDomainIds) {
  return { outStdevId: testDevice, outHwptId: hwpt, outIdevId: device };
}

/** The operations of the kernel's iommufd test driver, typed. */
import { checkCallback, checkInteger, checkObject, invalidType, readValue } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import { BoundDevice } from '../iommufd/bound-device.js';
import { Iommufd } from '../iommufd/iommufd.js';
import type { DmaBuf } from '../memory/dma-buf.js';
import { ProcessMemory } from '../memory/process-memory.js';
import { checkMemory } from '../memory/user-memory.js';
import { rulesOf } from '../rules.js';
import { MAX_U64, type U64Input } from '../u64.js';
import { AccessFiles, type AfterClose } from './access-files.js';
import { checkMap, checkRefs } from './checks.js';
import { type AccessPagesRequest, type AccessRwRequest, checkFlags, MockAccess } from './mock-access.js';
import { MockDevice } from './mock-device.js';
import { MockDmaBuf } from './mock-dma-buf.js';
import { countDirtyBits, MockDomain } from './mock-domain.js';
import type { TestMemory } from './page-identity.js';

/** What a mock device that has been attached is known by. */
export interface MockDomainIds {
  /** Id of the test device: destroying it detaches and unbinds the device. */
  readonly testDevice: number;
  /** Id of the bound device, which page tables are made for. */
  readonly device: number;
  /** Id of the page table in use. */
  readonly hwpt: number;
}

const LARGEST_U32 = 0xffff_ffff;
/** The least bytes that the driver lets internal batches shrink to. */
const LEAST_MEMORY_LIMIT = 12;
const CREATE_ACCESS_NEEDS_PIN = 1;

/**
 * The kernel's test driver on a context: what the test ioctl of `/dev/iommu` does.
 *
 * Access files can be shared between the drivers of several contexts, as the files of a process are.
 */
export class TestDriver {
  readonly #iommufd: Iommufd;
  readonly #memory: TestMemory;
  readonly #files: AccessFiles;
  readonly #devices = new Map<number, BoundDevice>();

  constructor(
    iommufd: Iommufd,
    options: {
      /** The memory of the process that uses the driver. */
      readonly memory: TestMemory;
      readonly files?: AccessFiles | undefined;
    },
  ) {
    if (!(iommufd instanceof Iommufd)) throw invalidType(iommufd, 'iommufd', 'an Iommufd');
    checkObject(options, 'options');
    const { memory, files = new AccessFiles() } = options;
    checkMemory(memory, 'options.memory');
    if (!(files instanceof AccessFiles)) throw invalidType(files, 'options.files', 'AccessFiles');
    this.#iommufd = iommufd;
    this.#memory = memory;
    this.#files = files;
  }

  /**
   * ADD_RESERVED: reserves IOVA for nobody, for good.
   *
   * @throws EINVAL if the length is 0, EOVERFLOW if the range passes 2^64 − 1, ENOENT if there is no such address
   * space, EADDRINUSE if a mapping or an allowed range is in the way.
   */
  async addReserved(request: {
    readonly ioas: number;
    readonly start: U64Input;
    readonly length: U64Input;
  }): Promise<void> {
    checkObject(request, 'request');
    const start = readValue(request.start, 'start');
    const length = readValue(request.length, 'length');
    if (length === 0n) throw refuse('EINVAL', 'argument', 'the length is 0');
    const last = start + (length - 1n);
    if (last > MAX_U64) throw refuse('EOVERFLOW', 'overflow', 'the range reaches past 2^64 - 1');
    await this.#iommufd.ioasTable(request.ioas).reserveIova({ start, last, owner: null });
  }

  /**
   * MOCK_DOMAIN: makes a mock device, binds it and attaches it. The ids are taken in the order test device, bound
   * device, automatic page table.
   *
   * @param request - `pt`: id of an address space or a page table; `flags`: bits of `MOCK_FLAGS`
   * @param deliver - hands the ids over before the test device can be found
   * @throws EINVAL for unknown flags, as `BoundDevice.attach`, and what `deliver` throws; nothing is left of the device
   * then.
   */
  async mockDomain(
    request: { readonly pt: number; readonly flags?: number | undefined },
    deliver?: (ids: MockDomainIds) => void | Promise<void>,
  ): Promise<MockDomainIds> {
    checkObject(request, 'request');
    checkCallback(deliver, 'deliver');
    const { pt, flags } = request;
    const device = new MockDevice({ flags, profile: this.#iommufd.context.profile });
    let ids: MockDomainIds | undefined;
    await this.#iommufd.addDriverObject(async (id) => {
      const bound = await this.#iommufd.deviceBind(device);
      try {
        const hwpt = await bound.attach(pt);
        ids = { testDevice: id, device: bound.id, hwpt };
        await deliver?.(ids);
      } catch (error) {
        await bound.unbind();
        throw error;
      }
      this.#devices.set(id, bound);
      return {
        kind: 'test device',
        dispose: () => {
          this.#devices.delete(id);
          return bound.unbind();
        },
      };
    });
    return ids!;
  }

  /**
   * MOCK_DOMAIN_REPLACE: moves a test device to another address space or page table, and gives the id of the page
   * table it uses now.
   *
   * @param request - `testDevice`: id of the test device; `pt`: id of an address space or a page table
   * @throws ENOENT if there is no such test device, and as `BoundDevice.replace`.
   */
  async mockDomainReplace(request: { readonly testDevice: number; readonly pt: number }): Promise<number> {
    checkObject(request, 'request');
    const { testDevice, pt } = request;
    return await this.deviceOf(testDevice).replace(pt);
  }

  /**
   * DEV_CHECK_CACHE: verifies what a bound mock device has cached.
   *
   * @param request - `device`: id of the bound device; `cache`: number of the cache; `value`: what is expected in it
   * @throws ENOENT if there is no such bound device, EINVAL if it has no such cache or something else in it.
   */
  async checkCache(request: {
    readonly device: number;
    readonly cache: number;
    readonly value: number;
  }): Promise<void> {
    checkObject(request, 'request');
    const { device: id, cache, value } = request;
    const { device } = this.#iommufd.context.objects.get(id, BoundDevice);
    const cached = device instanceof MockDevice ? device.caches[cache] : undefined;
    if (cached === value) return;
    throw refuse('EINVAL', 'state', `cache ${cache} of device ${device.name} has ${cached}, not ${value}`);
  }

  /** The bound device of a test device. @throws ENOENT if there is no such test device */
  deviceOf(testDevice: number): BoundDevice {
    checkInteger(testDevice, 'testDevice', 0, LARGEST_U32);
    const bound = this.#devices.get(testDevice);
    if (bound !== undefined) return bound;
    const detail = 'is not a test device';
    throw new IommuError('ENOENT', { check: 'object', id: String(testDevice), detail });
  }

  /**
   * MD_CHECK_MAP: verifies that a page table translates a range to the bytes of user memory.
   *
   * @throws as `checkMap`, and ENOENT if there is no such page table.
   */
  async checkMap(request: {
    readonly hwpt: number;
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly uptr: U64Input;
    readonly memory?: TestMemory | undefined;
  }): Promise<void> {
    checkObject(request, 'request');
    const { hwpt, iova, length, uptr, memory = this.#memory } = request;
    const domain = () => this.#iommufd.hwptDomain(hwpt);
    const domainFirst = rulesOf(this.#iommufd.context.profile).testMapChecks === 'table-first';
    await checkMap({ iova, length, uptr, memory, domain, domainFirst });
  }

  /** MD_CHECK_REFS: verifies how often pages are pinned. @throws as `checkRefs` */
  async checkRefs(request: {
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly refs: number;
    readonly memory?: TestMemory | undefined;
  }): Promise<void> {
    checkObject(request, 'request');
    const { memory = this.#memory } = request;
    checkRefs(memory, request);
  }

  /**
   * SET_TEMP_MEMORY_LIMIT: the kernel works in smaller batches then; the answers are the same.
   *
   * @throws EINVAL if the limit is below 12 bytes.
   */
  async setTempMemoryLimit(limit: number): Promise<void> {
    checkInteger(limit, 'limit', 0, LARGEST_U32);
    if (limit >= LEAST_MEMORY_LIMIT) return;
    throw refuse('EINVAL', 'argument', `the limit is ${limit} bytes; the least is ${LEAST_MEMORY_LIMIT}`);
  }

  /**
   * DIRTY: marks what is mapped as written by the device, and gives the number of pages found; under later kernels, of
   * all bits that are set.
   *
   * @param request - bit n of `bitmap` (bit n mod 8 of byte n div 8) is the io page at iova + n * pageSize. A function is
   * asked for the bitmap once the checks before it have passed.
   * @throws EINVAL if the page size or the length is 0 or the range is not aligned to the page size, EOVERFLOW for more
   * than 2^27 bits, ENOENT if there is no such page table, EINVAL if tracking is off, what `bitmap` throws, EFAULT if
   * the bitmap is too short.
   */
  async dirty(request: {
    readonly hwpt: number;
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly pageSize: U64Input;
    readonly bitmap: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
  }): Promise<number> {
    checkObject(request, 'request');
    const { hwpt, bitmap } = request;
    const iova = readValue(request.iova, 'iova');
    const length = readValue(request.length, 'length');
    const pageSize = readValue(request.pageSize, 'pageSize');
    countDirtyBits(iova, length, pageSize);
    const domain = this.#iommufd.hwptDomain(hwpt);
    if (!(domain instanceof MockDomain) || !domain.dirty?.tracking)
      throw refuse('EINVAL', 'state', 'the page table does not track dirty pages now');
    const marks = typeof bitmap === 'function' ? await bitmap() : bitmap;
    return domain.makeDirty(iova, length, pageSize, marks);
  }

  /**
   * DMABUF_GET: makes a dma-buf.
   *
   * @param length - its size in bytes, which is rounded up to whole pages
   * @throws EINVAL if the length is 0 or above 2 MiB.
   */
  dmaBufGet(length: number): MockDmaBuf {
    checkInteger(length, 'length', 0, LARGEST_U32);
    return new MockDmaBuf(length, this.#memory instanceof ProcessMemory ? this.#memory.physical : undefined);
  }

  /**
   * DMABUF_REVOKE: takes back what is mapped of a dma-buf, and refuses new mappings, or accepts them again. Both take back
   * what is mapped.
   *
   * @throws EOPNOTSUPP if the test driver did not make it.
   */
  async dmaBufRevoke(buffer: DmaBuf, revoked: boolean): Promise<void> {
    if (buffer instanceof MockDmaBuf) return await buffer.setRevoked(revoked);
    throw refuse('EOPNOTSUPP', 'unsupported', 'the dma-buf is not one of the test driver');
  }

  /**
   * CREATE_ACCESS: opens a mock access on an address space and gives the number of its file.
   *
   * @param request - `flags`: 1 it pins
   * @param file - `deliver` hands the number over, and `afterClose` is called when the file was closed
   * @throws EOPNOTSUPP for unknown flags, as `Iommufd.accessCreate`, and what `deliver` throws; nothing is left of the
   * access then.
   */
  async createAccess(
    request: { readonly ioas: number; readonly flags: number },
    file: {
      readonly deliver?: ((file: number) => void | Promise<void>) | undefined;
      readonly afterClose?: AfterClose | undefined;
    } = {},
  ): Promise<number> {
    checkObject(request, 'request');
    checkObject(file, 'file');
    const { deliver, afterClose } = file;
    checkCallback(deliver, 'file.deliver');
    const { ioas, flags } = request;
    checkFlags(flags, CREATE_ACCESS_NEEDS_PIN);
    const access = await MockAccess.create(this.#iommufd, { ioas, needsPin: flags !== 0 });
    const number = this.#files.add(access, afterClose);
    try {
      await deliver?.(number);
    } catch (error) {
      await this.#files.close(number);
      throw error;
    }
    return number;
  }

  /** Closes an access file: unpins its items and ends the access. @throws EBADFD if there is no such file */
  closeAccess(file: number): Promise<void> {
    return this.#files.close(file);
  }

  /** ACCESS_PAGES. @throws as `MockAccess.pages`, EBADFD also if there is no such file */
  async accessPages(
    file: number,
    request: AccessPagesRequest,
    memory: TestMemory = this.#memory,
    deliver?: (item: number) => void | Promise<void>,
  ): Promise<number> {
    return this.#files.get(file).pages(request, memory, deliver);
  }

  /** DESTROY_ACCESS_PAGES. @throws as `MockAccess.destroyPages`, EBADFD also if there is no such file */
  async destroyAccessPages(file: number, item: number): Promise<void> {
    return this.#files.get(file).destroyPages(item);
  }

  /** ACCESS_RW. @throws as `MockAccess.rw`, EBADFD also if there is no such file */
  async accessRw(
    file: number,
    request: AccessRwRequest,
    memory: TestMemory = this.#memory,
  ): Promise<Uint8Array> {
    return this.#files.get(file).rw(request, memory);
  }

  /** ACCESS_REPLACE_IOAS. @throws as `MockAccess.replaceIoas`, EBADFD also if there is no such file */
  async accessReplaceIoas(file: number, ioas: number): Promise<void> {
    return this.#files.get(file).replaceIoas(ioas);
  }
}

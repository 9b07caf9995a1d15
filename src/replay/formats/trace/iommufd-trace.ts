/** Replaying a trace of an iommufd. */
import type { IoPagetable } from '../../../io-pagetable.js';
import { type IovaRanges, PartialAnswerError } from '../../../iommufd/ioas-commands.js';
import type { Rules } from '../../../rules.js';
import { MOCK_ACCESS, MOCK_FLAGS } from '../../../testing/index.js';
import { hex, PAGE_SIZE } from '../../../u64.js';
import type { TraceArguments } from './trace-arguments.js';
import type { TraceDriver, TraceHost, TraceIommufd, TraceKernel } from './trace-kernel.js';
import type { TraceProcess } from './trace-process.js';
import {
  type Answer,
  DONE,
  FailedOperation,
  failing,
  fnvHash,
  memoryOperations,
  rangesOf,
  type TraceOperation,
  type TraceTarget,
} from './trace-target.js';

/** An object id that no object ever has. */
const NO_OBJECT = 0;
/** A file number that is never open. */
const NO_FILE = 0xffff_ffff;
/** An item number that is never used. */
const NO_ITEM = 0xffff_ffff;

/** Type of the test driver's virtual IOMMUs, and of their queues. */
const MOCK_VIOMMU_TYPE = 0xdead_beef;
/** How the test driver is told to make a page table with huge pages, where that is told with the page table. */
const HUGE_TABLE = { type: 0xdead, bytes: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0) } as const;
const PAGE = BigInt(PAGE_SIZE);

/** One process with one iommufd. */
export class IommufdTrace implements TraceTarget {
  readonly operations: ReadonlyMap<string, TraceOperation>;
  readonly #iommufd: TraceIommufd;
  readonly #driver: TraceDriver;
  readonly #host: TraceHost;
  readonly #process: TraceProcess;
  readonly #hugeByTable: boolean;
  /** Ids of address spaces and page tables, file numbers of accesses and numbers of pinned items, by handle. */
  readonly #spaces = new Map<string, number>();
  readonly #domains = new Map<string, number>();
  readonly #accesses = new Map<string, number>();
  readonly #items = new Map<string, number>();
  /** The devices that page tables are made for, with and without huge pages. */
  readonly #devices = new Map<boolean, number>();
  /** Ids of the virtual IOMMUs of page tables, by the handle of the table, and of hardware queues. */
  readonly #viommus = new Map<string, number>();
  readonly #queues = new Map<string, number>();

  /** @param process - the process that uses the kernel */
  constructor({ iommufd, driver, host, inspector }: TraceKernel, process: TraceProcess, rules: Rules) {
    const { memory } = process;
    this.#iommufd = iommufd;
    this.#driver = driver;
    this.#host = host;
    this.#process = process;
    this.#hugeByTable = rules.testHugePages === 'table-data';
    this.operations = new Map([
      ...this.#spaceOperations(),
      ...this.#domainOperations(),
      ...this.#accessOperations(),
      ...this.#dirtyOperations(),
      ...this.#vfioOperations(),
      ...this.#fileOperations(),
      ...this.#queueOperations(),
      ...this.#noIommuOperations(),
      ...memoryOperations(memory, inspector),
    ]);
  }

  table(ioas: string): IoPagetable | undefined {
    const id = this.#spaces.get(ioas);
    return id === undefined ? undefined : this.#iommufd.ioasTable(id);
  }

  check(): void {
    this.#iommufd.check();
  }

  async close(): Promise<void> {
    await this.#iommufd.close();
  }

  #spaceOperations(): [string, TraceOperation][] {
    const iommufd = this.#iommufd;
    return [
      [
        'ioas_alloc',
        async (fields) => {
          const handle = fields.text('ioas');
          this.#spaces.set(handle, await iommufd.ioasAlloc());
          return DONE;
        },
      ],
      [
        'ioas_destroy',
        async (fields) => {
          const handle = fields.text('ioas');
          await iommufd.destroy(this.#spaces.get(handle) ?? NO_OBJECT);
          this.#spaces.delete(handle);
          return DONE;
        },
      ],
      [
        'map',
        async (fields) => {
          const request = { ioas: this.#ioas(fields), ...fields.mapping() };
          return { iova: hex(await iommufd.ioasMap(request)) };
        },
      ],
      [
        'unmap',
        async (fields) => {
          const request = { ioas: this.#ioas(fields), ...fields.iovaRange() };
          return await failing(
            async () => ({ unmapped: hex(await iommufd.ioasUnmap(request)) }),
            () => ({ unmapped: hex(request.length) }),
          );
        },
      ],
      [
        'copy',
        async (fields) => {
          const iova = await iommufd.ioasCopy({
            from: this.#ioas(fields, 'src'),
            to: this.#ioas(fields, 'dst'),
            ...fields.copying(),
          });
          return { iova: hex(iova) };
        },
      ],
      [
        'iova_ranges',
        async (fields) => {
          const ioas = this.#ioas(fields);
          const max = fields.has('max') ? fields.number('max') : undefined;
          try {
            return rangesAnswer(await iommufd.ioasIovaRanges({ ioas, max }));
          } catch (error) {
            if (!(error instanceof PartialAnswerError)) throw error;
            const { answer }: PartialAnswerError<IovaRanges> = error;
            throw new FailedOperation(error, rangesAnswer(answer));
          }
        },
      ],
      [
        'allow_iovas',
        async (fields) => {
          await iommufd.ioasAllowIovas({ ioas: this.#ioas(fields), ranges: fields.ranges('ranges') });
          return DONE;
        },
      ],
      [
        'reserve',
        async (fields) => {
          await this.#driver.addReserved({
            ioas: this.#ioas(fields),
            start: fields.hex('start'),
            length: fields.hex('length'),
          });
          return DONE;
        },
      ],
      [
        'huge_pages_set',
        async (fields) => {
          const value = fields.number('value');
          await iommufd.option({ option: 'huge-pages', ioas: this.#ioas(fields), value });
          return DONE;
        },
      ],
      [
        'huge_pages_get',
        async (fields) => {
          const value = await iommufd.option({ option: 'huge-pages', ioas: this.#ioas(fields) });
          return { value: Number(value) };
        },
      ],
      [
        'rlimit_mode_set',
        async (fields) => {
          await iommufd.option({ option: 'rlimit-mode', value: fields.number('value') });
          return DONE;
        },
      ],
      ['rlimit_mode_get', async () => ({ value: Number(await iommufd.option({ option: 'rlimit-mode' })) })],
    ];
  }

  #domainOperations(): [string, TraceOperation][] {
    return [
      [
        'domain_add',
        async (fields) => {
          const handle = fields.text('domain');
          const ioas = this.#ioas(fields);
          const huge = fields.flag('huge');
          const dirtyTracking = fields.flag('dirty');
          const nestParent = fields.has('nest') && fields.flag('nest');
          const device = await this.#device(huge && !this.#hugeByTable);
          const data = huge && this.#hugeByTable ? HUGE_TABLE : undefined;
          const request = { device, ioas, dirtyTracking, nestParent, data };
          this.#domains.set(handle, await this.#iommufd.hwptAlloc(request));
          return DONE;
        },
      ],
      [
        'domain_remove',
        async (fields) => {
          const handle = fields.text('domain');
          const viommu = this.#viommus.get(handle);
          if (viommu !== undefined) await this.#iommufd.destroy(viommu);
          this.#viommus.delete(handle);
          await this.#iommufd.destroy(this.#domains.get(handle) ?? NO_OBJECT);
          this.#domains.delete(handle);
          return DONE;
        },
      ],
      [
        'check_map',
        async (fields) => {
          const request = { hwpt: this.#hwpt(fields), ...fields.iovaRange(), uptr: fields.hex('uptr') };
          await this.#driver.checkMap(request);
          return DONE;
        },
      ],
    ];
  }

  #accessOperations(): [string, TraceOperation][] {
    const driver = this.#driver;
    return [
      [
        'access_create',
        async (fields) => {
          const handle = fields.text('access');
          const request = { ioas: this.#ioas(fields), flags: fields.flag('pins') ? 1 : 0 };
          this.#accesses.set(handle, await driver.createAccess(request));
          return DONE;
        },
      ],
      [
        'access_destroy',
        async (fields) => {
          const handle = fields.text('access');
          await driver.closeAccess(this.#accesses.get(handle) ?? NO_FILE);
          this.#accesses.delete(handle);
          return DONE;
        },
      ],
      [
        'access_replace_ioas',
        async (fields) => {
          await driver.accessReplaceIoas(this.#file(fields), this.#ioas(fields));
          return DONE;
        },
      ],
      [
        'access_pin',
        async (fields) => {
          const handle = fields.text('item');
          const file = this.#file(fields);
          const request = {
            ...fields.iovaRange(),
            uptr: fields.hexOrNull('uptr'),
            flags: fields.flag('write') ? MOCK_ACCESS.WRITE : 0,
          };
          this.#items.set(handle, await driver.accessPages(file, request));
          return DONE;
        },
      ],
      [
        'access_unpin',
        async (fields) => {
          const item = this.#items.get(fields.text('item')) ?? NO_ITEM;
          await driver.destroyAccessPages(this.#file(fields), item);
          return DONE;
        },
      ],
      [
        'access_rw',
        async (fields) => {
          const file = this.#file(fields);
          const write = fields.flag('write');
          const seed = write ? fields.number('seed') : 0;
          const request = {
            ...fields.iovaRange(),
            flags: (write ? MOCK_ACCESS.WRITE : 0) | (fields.flag('slow') ? MOCK_ACCESS.SLOW_PATH : 0),
            source: (length: number) => pattern(seed, length),
          };
          const bytes = await driver.accessRw(file, request);
          return write ? DONE : { hash: fnvHash(bytes) };
        },
      ],
    ];
  }

  #dirtyOperations(): [string, TraceOperation][] {
    return [
      [
        'dirty_set_tracking',
        async (fields) => {
          const request = { hwpt: this.#hwpt(fields), enable: fields.flag('enable') };
          await this.#iommufd.setDirtyTracking(request);
          return DONE;
        },
      ],
      [
        'dirty_mark',
        async (fields) => {
          const marked = await this.#driver.dirty({
            hwpt: this.#hwpt(fields),
            ...fields.iovaRange(),
            pageSize: fields.hex('page_size'),
            bitmap: fields.bytes('bitmap'),
          });
          return { marked };
        },
      ],
      [
        'dirty_get',
        async (fields) => {
          const { length, ...rest } = { ...fields.iovaRange(), pageSize: fields.hex('page_size') };
          const noClear = fields.flag('no_clear');
          const hwpt = this.#hwpt(fields);
          const bitmap = await this.#iommufd.getDirtyBitmap({ hwpt, length, ...rest, noClear });
          // Whole pages may set bits beyond the request, which are no part of the answer.
          const bits = Number(length / rest.pageSize);
          const asked = bitmap.subarray(0, Math.ceil(bits / 8));
          const set = asked.subarray(0, asked.findLastIndex((byte) => byte !== 0) + 1);
          return { bitmap: Buffer.from(set).toString('hex') };
        },
      ],
    ];
  }

  #vfioOperations(): [string, TraceOperation][] {
    const iommufd = this.#iommufd;
    return [
      [
        'vfio_ioas_set',
        async (fields) => {
          await iommufd.vfioIoasSet(this.#ioas(fields));
          return DONE;
        },
      ],
      [
        'vfio_ioas_get',
        async () => {
          const id = await iommufd.vfioIoasGet();
          const [handle] = [...this.#spaces].find(([, space]) => space === id) ?? [`object ${id}`];
          return { ioas: handle };
        },
      ],
      [
        'vfio_ioas_clear',
        async () => {
          await iommufd.vfioIoasClear();
          return DONE;
        },
      ],
      [
        'vfio_set_iommu',
        async (fields) => {
          await iommufd.vfioSetIommu(fields.number('type'));
          return DONE;
        },
      ],
      [
        'vfio_check_extension',
        async (fields) => ({ value: await iommufd.vfioCheckExtension(fields.number('extension')) }),
      ],
      [
        'vfio_map',
        async (fields) => {
          await iommufd.vfioMap({ iova: fields.hex('iova'), ...fields.memoryRange() });
          return DONE;
        },
      ],
      [
        'vfio_unmap',
        async (fields) => {
          const request = { ...fields.iovaRange(), all: fields.flag('all') };
          return await failing(
            async () => ({ unmapped: hex(await iommufd.vfioUnmap(request)) }),
            (error) => ({ unmapped: hex(error.unmapped ?? request.length) }),
          );
        },
      ],
      [
        'vfio_info',
        async () => {
          const { pageSizes, ranges } = await iommufd.vfioInfo();
          return { page_sizes: hex(pageSizes), ranges: rangesOf(ranges) };
        },
      ],
    ];
  }

  #fileOperations(): [string, TraceOperation][] {
    const host = this.#host;
    const { files } = this.#process;
    return [
      [
        'map_file',
        async (fields) => {
          const request = { ioas: this.#ioas(fields), fd: this.#fd(fields), ...fields.fileMapping() };
          return { iova: hex(await host.mapFile(request)) };
        },
      ],
      [
        'file_resize',
        async (fields) => {
          files.resize(fields.text('file'), fields.hex('size'));
          return DONE;
        },
      ],
      [
        'file_close',
        async (fields) => {
          files.close(fields.text('file'));
          return DONE;
        },
      ],
      [
        'change_process',
        async (fields) => {
          await host.changeProcess(fields.number('process'));
          return DONE;
        },
      ],
      [
        'dmabuf_create',
        async (fields) => {
          const handle = fields.text('file');
          files.name(handle, await host.openDmaBuf(fields.hex('length')));
          return DONE;
        },
      ],
      [
        'dmabuf_revoke',
        async (fields) => {
          const fd = this.#fd(fields);
          await host.revokeDmaBuf(fd, fields.flag('revoked'));
          return DONE;
        },
      ],
    ];
  }

  #queueOperations(): [string, TraceOperation][] {
    const iommufd = this.#iommufd;
    return [
      [
        'queue_add',
        async (fields) => {
          const [handle, domain] = [fields.text('queue'), fields.text('domain')];
          const hwpt = this.#hwpt(fields);
          const range = fields.iovaRange();
          const index = fields.number('index');
          const viommu = await this.#viommu(domain, hwpt);
          const request = { viommu, type: MOCK_VIOMMU_TYPE, index, ...range };
          this.#queues.set(handle, await iommufd.hwQueueAlloc(request));
          return DONE;
        },
      ],
      [
        'queue_remove',
        async (fields) => {
          const handle = fields.text('queue');
          await iommufd.destroy(this.#queues.get(handle) ?? NO_OBJECT);
          this.#queues.delete(handle);
          return DONE;
        },
      ],
    ];
  }

  /** The virtual IOMMU of a page table, which is made when it is first needed. */
  async #viommu(domain: string, hwpt: number): Promise<number> {
    const known = this.#viommus.get(domain);
    if (known !== undefined) return known;
    const device = await this.#device(false);
    const viommu = await this.#iommufd.viommuAlloc({ device, type: MOCK_VIOMMU_TYPE, hwpt });
    this.#viommus.set(domain, viommu);
    return viommu;
  }

  #noIommuOperations(): [string, TraceOperation][] {
    const host = this.#host;
    const { memory } = this.#process;
    return [
      [
        'noiommu_attach',
        async (fields) => {
          const ioas = this.#ioas(fields);
          await host.attachDevice(fields.number('device'), ioas);
          return DONE;
        },
      ],
      [
        'noiommu_detach',
        async (fields) => {
          await host.detachDevice(fields.number('device'));
          return DONE;
        },
      ],
      [
        'get_pa',
        async (fields) => {
          const uptr = fields.hexOrNull('uptr');
          const request = { ioas: this.#ioas(fields), ...fields.iovaRange() };
          const { physical, length } = await this.#iommufd.ioasNoiommuGetPa(request);
          if (uptr === undefined) return { length: hex(length) };
          const frame = memory.frameAt(Number(uptr / PAGE));
          const match = frame !== undefined && BigInt(frame) * PAGE + (uptr % PAGE) === physical;
          return { length: hex(length), match };
        },
      ],
    ];
  }

  #fd(fields: TraceArguments): number {
    return this.#process.files.numberOf(fields.text('file'));
  }

  #ioas(fields: TraceArguments, name = 'ioas'): number {
    return this.#spaces.get(fields.text(name)) ?? NO_OBJECT;
  }

  #hwpt(fields: TraceArguments): number {
    return this.#domains.get(fields.text('domain')) ?? NO_OBJECT;
  }

  #file(fields: TraceArguments): number {
    return this.#accesses.get(fields.text('access')) ?? NO_FILE;
  }

  /** A device to make page tables for. It is attached to an address space of its own, as the recorder's was. */
  async #device(huge: boolean): Promise<number> {
    const known = this.#devices.get(huge);
    if (known !== undefined) return known;
    const pt = await this.#iommufd.ioasAlloc();
    const { device } = await this.#driver.mockDomain({ pt, flags: huge ? MOCK_FLAGS.HUGE_IOVA : 0 });
    this.#devices.set(huge, device);
    return device;
  }
}

function rangesAnswer({ ranges, total, alignment }: IovaRanges): Answer {
  return { num_iovas: total, ranges: rangesOf(ranges), alignment: hex(alignment) };
}

/** The bytes that a write of a trace writes. */
function pattern(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = Math.imul(seed + at, 0x9e37_79b1) >>> 24;
  return bytes;
}

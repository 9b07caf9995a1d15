/**
 * Replays the calls of a VMM to /dev/iommu: every file descriptor is an `Iommufd`, every address space of it an
 * IOVA space.
 *
 * Ids are the log's. The model's own differ, because other objects that the log doesn't show (devices) take ids too.
 */
import type { IommuDomain } from '../../../domain/iommu-domain.js';
import type { BoundDevice } from '../../../iommufd/bound-device.js';
import { hwptAlloc } from '../../../iommufd/hwpt-alloc.js';
import { Iommufd } from '../../../iommufd/iommufd.js';
import { isAtLeast, rulesOf } from '../../../rules.js';
import { compared, type ReplayStep } from '../../figures.js';
import { measureHoles } from '../../holes.js';
import { type EventHandlers, type FormatReplay, handlerOf, type LogModel } from '../../log-format.js';
import { agree, errnoName, SOME_ERROR } from '../../logged-answer.js';
import {
  type Answer,
  answer,
  changedBy,
  MAPPED,
  mapAsLogged,
  type ReplayQuestion,
  ReplaySpace,
  unmappedAnswer,
} from '../../replay-space.js';
import type {
  IommufdAllocHwpt,
  IommufdAllocIoas,
  IommufdEvent,
  IommufdFreeId,
  IommufdGetDirtyBitmap,
  IommufdMapDma,
  IommufdMapFileDma,
  IommufdSetDirty,
  IommufdUnmapDma,
} from './iommufd-log.js';
import { describeIommufdEvent } from './iommufd-words.js';

/** An address space of the log. */
interface LoggedIoas {
  readonly space: ReplaySpace;
  /** The model's id; `undefined` once it was freed. */
  id: number | undefined;
  /** Page tables on it; while it has some it cannot be freed. */
  pageTables: number;
}

/** A page table of the log. */
interface LoggedHwpt {
  readonly ioas: LoggedIoas;
  /** The model's id. */
  readonly id: number;
}

/** One file descriptor of /dev/iommu. */
interface Context {
  readonly fd: number;
  readonly iommufd: Iommufd;
  readonly ioas: Map<number, LoggedIoas>;
  /** Those that were freed, the one that was freed first is first: only the last ones are remembered. */
  readonly freed: Set<number>;
  /** Page tables; `undefined` for those that the model doesn't have: nested ones, and any that it refused. */
  readonly hwpts: Map<number, LoggedHwpt | undefined>;
  readonly devices: Map<number, BoundDevice>;
  /** Objects that the log's room counts for it. */
  objects: number;
}

/** The first Linux in which files can be mapped. */
const MAP_FILE_SINCE = '6.13';
const UNKNOWN_CALL: Answer = {
  code: 'ENOTTY',
  unmapped: 0n,
  because: `this kernel cannot map files; Linux can from ${MAP_FILE_SINCE} on`,
};
/** Freed address spaces whose calls are still answered as a kernel does. */
const MOST_FREED = 1024;

const DONE: Answer = { code: 'OK', unmapped: 0n, because: 'nothing speaks against it' };
/** A bitmap without bits: what is dirty is of no interest, only whether it can be asked. */
const NO_BITS = new Uint8Array(0);

/**
 * The iommufds of a log on the model.
 *
 * Each address space has a page table from the start, for the devices that this format doesn't show. An address
 * space that the log uses but doesn't make was made before the log began, and is empty in the model.
 */
export class IommufdReplay implements FormatReplay<IommufdEvent> {
  readonly #model: LogModel;
  readonly #contexts = new Map<number, Context>();
  readonly #handlers: EventHandlers<IommufdEvent, Promise<ReplayStep | undefined>> = {
    'iommufd-connect': async () => undefined,
    'iommufd-disconnect': async ({ users, fd }) => (users === 0 ? this.#end(fd) : undefined),
    'iommufd-alloc-ioas': (event) => this.#allocIoas(event),
    'iommufd-map-dma': (event) => this.#map(event),
    'iommufd-map-file-dma': (event) => this.#mapFile(event),
    'iommufd-unmap-dma': (event) => this.#unmap(event),
    'iommufd-unmap-dma-non-exist': (event) => this.#unmap(event),
    'iommufd-alloc-hwpt': (event) => this.#allocHwpt(event),
    'iommufd-free-id': (event) => this.#free(event),
    'iommufd-set-dirty': (event) => this.#setDirty(event),
    'iommufd-get-dirty-bitmap': (event) => this.#readDirty(event),
  };

  constructor(model: LogModel) {
    this.#model = model;
  }

  get spaces(): ReplaySpace[] {
    const all = [...this.#contexts.values()].flatMap(({ ioas }) => [...ioas.values()]);
    return all.filter(({ id }) => id !== undefined).map(({ space }) => space);
  }

  apply(event: IommufdEvent): Promise<ReplayStep | undefined> {
    return handlerOf(this.#handlers, event)(event);
  }

  async question(event: IommufdEvent): Promise<ReplayQuestion | undefined> {
    switch (event.type) {
      case 'iommufd-map-dma':
      case 'iommufd-unmap-dma':
      case 'iommufd-unmap-dma-non-exist': {
        const { iova, length } = event;
        const { space } = await this.#ioas(this.#context(event.iommufd), event.ioas);
        if (event.type !== 'iommufd-map-dma') return { space, request: { call: 'unmap', iova, length } };
        const prot = event.readonly ? 'r' : 'rw';
        return { space, request: { call: 'map', iova, uptr: event.uptr, length, prot } };
      }
      default:
        return undefined;
    }
  }

  async close(): Promise<void> {
    for (const fd of [...this.#contexts.keys()]) await this.#end(fd);
  }

  #context(fd: number): Context {
    const known = this.#contexts.get(fd);
    if (known !== undefined) return known;
    const { profile, memory } = this.#model;
    const context: Context = {
      fd,
      iommufd: new Iommufd({ profile, memory }),
      ioas: new Map(),
      freed: new Set(),
      hwpts: new Map(),
      devices: new Map(),
      objects: 0,
    };
    this.#count(context);
    this.#contexts.set(fd, context);
    return context;
  }

  /** An object more of a context. @throws LogError if there are too many */
  #count(context: Context): void {
    this.#model.room.addObject();
    context.objects += 1;
  }

  #uncount(context: Context): void {
    this.#model.room.removeObjects(1);
    context.objects -= 1;
  }

  /** Notes a page table of the log, of which the model may have none. */
  #noteHwpt(context: Context, id: number, hwpt: LoggedHwpt | undefined): void {
    // One that the log doesn't say to be freed is still there.
    if (context.hwpts.get(id) !== undefined || !context.hwpts.has(id)) this.#count(context);
    context.hwpts.set(id, hwpt);
  }

  #forgetHwpt(context: Context, id: number): void {
    if (context.hwpts.delete(id)) this.#uncount(context);
  }

  /** Notes that an address space was freed; of very many the first are forgotten. */
  #noteFreed(context: Context, id: number): void {
    context.freed.add(id);
    if (context.freed.size <= MOST_FREED) return;
    for (const first of context.freed) {
      this.#forgetIoas(context, first);
      return;
    }
  }

  #forgetIoas(context: Context, id: number): void {
    const ioas = context.ioas.get(id);
    context.ioas.delete(id);
    context.freed.delete(id);
    if (ioas !== undefined && ioas.id === undefined) this.#uncount(context);
  }

  async #end(fd: number): Promise<undefined> {
    const context = this.#contexts.get(fd);
    if (context === undefined) return;
    this.#contexts.delete(fd);
    for (const ioas of context.ioas.values()) {
      if (ioas.id !== undefined)
        this.#model.journal.ended(ioas.space, measureHoles(ioas.space.table.snapshot()));
    }
    await context.iommufd.close();
    this.#model.room.removeObjects(context.objects);
  }

  async #ioas(context: Context, id: number): Promise<LoggedIoas> {
    return context.ioas.get(id) ?? (await this.#newIoas(context, id));
  }

  async #newIoas(context: Context, id: number): Promise<LoggedIoas> {
    this.#forgetIoas(context, id);
    this.#count(context);
    const made = await context.iommufd.ioasAlloc();
    const table = context.iommufd.ioasTable(made);
    const domain = this.#model.createDomain({ dirtyTracking: false });
    // Not through a device of the model: the address space has to look unused to `destroy`.
    await table.addDomain(domain);
    const space = new ReplaySpace(`ioas ${id} of iommufd ${context.fd}`, table, domain);
    const ioas: LoggedIoas = { space, id: made, pageTables: 0 };
    context.ioas.set(id, ioas);
    return ioas;
  }

  async #allocIoas(event: IommufdAllocIoas): Promise<undefined> {
    const context = this.#context(event.iommufd);
    const before = context.ioas.get(event.ioas);
    // The log must have lost the line in which the one before was freed.
    if (before?.id !== undefined) await this.#destroyIoas(context, event.ioas, before);
    await this.#newIoas(context, event.ioas);
  }

  async #destroyIoas(context: Context, logged: number, ioas: LoggedIoas): Promise<Answer> {
    // What is in it is measured only where it can go: it may be much, and the log may try often.
    const holes = ioas.pageTables === 0 ? measureHoles(ioas.space.table.snapshot()) : undefined;
    const given = await onIoas(ioas, logged, async (id) => {
      await context.iommufd.destroy(id);
      return DONE;
    });
    if (given.code === 'OK') {
      ioas.id = undefined;
      this.#noteFreed(context, logged);
      if (holes !== undefined) this.#model.journal.ended(ioas.space, holes);
    }
    return given;
  }

  async #map(event: IommufdMapDma): Promise<ReplayStep> {
    const { iova, length, uptr } = event;
    const context = this.#context(event.iommufd);
    const ioas = await this.#ioas(context, event.ioas);
    const prot = event.readonly ? 'r' : 'rw';
    const map = () =>
      onIoas(ioas, event.ioas, async (id) => {
        await context.iommufd.ioasMap({ ioas: id, iova, length, uptr, prot });
        return MAPPED;
      });
    const given = await mapAsLogged(this.#model, loggedAnswer(event), { uptr, length }, map);
    return this.#compare(event, given, ioas.space, changedBy(iova, length));
  }

  async #mapFile(event: IommufdMapFileDma): Promise<ReplayStep> {
    const { iova, length, fd, start } = event;
    const context = this.#context(event.iommufd);
    const ioas = await this.#ioas(context, event.ioas);
    const changed = changedBy(iova, length);
    if (!isAtLeast(rulesOf(this.#model.profile).commands, MAP_FILE_SINCE)) {
      return this.#compare(event, UNKNOWN_CALL, ioas.space, changed);
    }
    const file = this.#model.file(fd);
    const prot = event.readonly ? 'r' : 'rw';
    const map = () =>
      onIoas(ioas, event.ioas, async (id) => {
        await context.iommufd.ioasMapFile({ ioas: id, iova, length, file, start, prot });
        return MAPPED;
      });
    const given = await (loggedAnswer(event) === 'EINVAL' ? file.without(map) : map());
    return this.#compare(event, given, ioas.space, changed);
  }

  async #unmap(event: IommufdUnmapDma): Promise<ReplayStep> {
    const { iova, length } = event;
    const context = this.#context(event.iommufd);
    const ioas = await this.#ioas(context, event.ioas);
    const given = await onIoas(ioas, event.ioas, async (id) =>
      unmappedAnswer(await context.iommufd.ioasUnmap({ ioas: id, iova, length })),
    );
    return this.#compare(event, given, ioas.space, changedBy(iova, length));
  }

  async #allocHwpt(event: IommufdAllocHwpt): Promise<ReplayStep | undefined> {
    const context = this.#context(event.iommufd);
    if (event.dataType !== 0 || context.hwpts.has(event.parent)) {
      if (event.result === 0) this.#noteHwpt(context, event.hwpt, undefined);
      this.#model.journal.leftOut();
      return undefined;
    }
    const ioas = await this.#ioas(context, event.parent);
    const device = await this.#device(context, event.device);
    let made: number | undefined;
    const given = await onIoas(ioas, event.parent, async (ptId) => {
      const flags = Number(event.flags & 0xffff_ffffn);
      // A length without a type is refused before anybody reads the data.
      const data = { dataType: 0, dataLen: event.dataLength, readData: () => new Uint8Array(0) };
      const fields = { flags, devId: device.id, ptId, faultId: 0, ...data };
      made = await context.iommufd.context.run('hwpt_alloc', () =>
        hwptAlloc(context.iommufd.context, fields),
      );
      this.#model.journal.settingChanged(ioas.space);
      return DONE;
    });
    if (event.result === 0) {
      this.#noteHwpt(context, event.hwpt, made === undefined ? undefined : { ioas, id: made });
      if (made !== undefined) ioas.pageTables += 1;
    }
    // The log has no id by which it would be freed.
    else if (made !== undefined) await context.iommufd.destroy(made);
    return this.#compare(event, given, ioas.space);
  }

  async #device(context: Context, id: number): Promise<BoundDevice> {
    const known = context.devices.get(id);
    if (known !== undefined) return known;
    this.#count(context);
    const device = await context.iommufd.deviceBind({
      name: `device ${id}`,
      dirtyTracking: true,
      createDomain: ({ dirtyTracking }): IommuDomain => this.#model.createDomain({ dirtyTracking }),
    });
    context.devices.set(id, device);
    return device;
  }

  async #free(event: IommufdFreeId): Promise<ReplayStep | undefined> {
    const context = this.#context(event.iommufd);
    const ioas = context.ioas.get(event.id);
    if (ioas?.id !== undefined) {
      const given = await this.#destroyIoas(context, event.id, ioas);
      return this.#compare(event, given, ioas.space);
    }
    const hwpt = context.hwpts.get(event.id);
    if (hwpt !== undefined) {
      const { id } = hwpt;
      const given = await answer(async () => {
        await context.iommufd.destroy(id);
        this.#forgetHwpt(context, event.id);
        hwpt.ioas.pageTables -= 1;
        this.#model.journal.settingChanged(hwpt.ioas.space);
        return DONE;
      });
      return this.#compare(event, given, hwpt.ioas.space);
    }
    if (event.result === 0) this.#forgetHwpt(context, event.id);
    this.#model.journal.leftOut();
    return undefined;
  }

  async #setDirty(event: IommufdSetDirty): Promise<ReplayStep | undefined> {
    const { enable } = event;
    return await this.#onHwpt(event, (iommufd, hwpt) => iommufd.setDirtyTracking({ hwpt, enable }));
  }

  async #readDirty(event: IommufdGetDirtyBitmap): Promise<ReplayStep | undefined> {
    const { iova, length, pageSize } = event;
    const noClear = (event.flags & 1n) !== 0n;
    return await this.#onHwpt(event, async (iommufd, hwpt) => {
      await iommufd.getDirtyBitmap({ hwpt, iova, length, pageSize, bitmap: NO_BITS, noClear });
    });
  }

  /** A call on a page table, if the model has it. */
  async #onHwpt(
    event: IommufdSetDirty | IommufdGetDirtyBitmap,
    call: (iommufd: Iommufd, id: number) => Promise<void>,
  ): Promise<ReplayStep | undefined> {
    const context = this.#context(event.iommufd);
    const hwpt = context.hwpts.get(event.hwpt);
    if (hwpt === undefined) {
      this.#model.journal.leftOut();
      return undefined;
    }
    const given = await answer(async () => {
      await call(context.iommufd, hwpt.id);
      return DONE;
    });
    return this.#compare(event, given, hwpt.ioas.space);
  }

  #compare(
    event: Extract<IommufdEvent, { readonly result: number }>,
    given: Answer,
    space: ReplaySpace,
    changed?: ReplayStep['changed'],
  ): ReplayStep {
    const logged = loggedAnswer(event);
    const operation = describeIommufdEvent(event);
    const step = { line: event.line, operation, logged, answer: given, space, changed };
    return compared(step, agree(logged, given.code), this.#model.journal);
  }
}

/** A call on an address space, which may have been freed. */
function onIoas(ioas: LoggedIoas, logged: number, call: (id: number) => Promise<Answer>): Promise<Answer> {
  const { id } = ioas;
  if (id !== undefined) return answer(() => call(id));
  return Promise.resolve({ code: 'ENOENT', unmapped: 0n, because: `ioas ${logged} was freed` });
}

/** The log's answer: `OK`, an errno, or `SOME_ERROR` where it doesn't say which. */
function loggedAnswer(event: Extract<IommufdEvent, { readonly result: number }>): string {
  // QEMU prints this event exactly if the kernel said ENOENT; later versions then set RET to 0.
  if (event.type === 'iommufd-unmap-dma-non-exist') return 'ENOENT';
  if (event.result === -1) return event.failure ?? SOME_ERROR;
  return errnoName(event.result);
}

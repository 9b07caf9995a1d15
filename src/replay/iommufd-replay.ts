/**
 * Replays the calls of a VMM to /dev/iommu: every file descriptor is an `Iommufd`, every address space of it an
 * IOVA space.
 *
 * Ids are the log's. The model's own differ, because other objects that the log doesn't show (devices) take ids too.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { BoundDevice } from '../iommufd/bound-device.js';
import { hwptAlloc } from '../iommufd/hwpt-alloc.js';
import { Iommufd } from '../iommufd/iommufd.js';
import type { UserMemory } from '../memory/user-memory.js';
import { hex } from '../u64.js';
import { compared, type ReplayJournal, type ReplayStep } from './figures.js';
import { measureHoles } from './holes.js';
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
import { agree, errnoName, SOME_ERROR } from './logged-answer.js';
import {
  type Answer,
  answer,
  changedBy,
  MAPPED,
  mapAsLogged,
  ReplaySpace,
  rangeInWords,
  type SpaceOptions,
  unmappedAnswer,
} from './replay-space.js';

/** What a replay of this format is made with. */
export interface IommufdReplayOptions extends SpaceOptions {
  /** The memory of a file, where a mapping is of a file. */
  readonly fileMemory: (fd: number) => UserMemory;
}

/** An address space of the log. */
interface LoggedIoas {
  readonly space: ReplaySpace;
  /** The model's id; `undefined` once it was freed. */
  id: number | undefined;
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
  /** Page tables; `undefined` for those that the model doesn't have: nested ones, and any that it refused. */
  readonly hwpts: Map<number, LoggedHwpt | undefined>;
  readonly devices: Map<number, BoundDevice>;
}

const DONE: Answer = { code: 'OK', unmapped: 0n, because: 'nothing speaks against it' };
/** A bitmap without bits: what is dirty is of no interest, only whether it can be asked. */
const NO_BITS = new Uint8Array(0);

/**
 * The iommufds of a log on the model.
 *
 * Each address space has a page table from the start, for the devices that this format doesn't show. An address
 * space that the log uses but doesn't make was made before the log began, and is empty in the model.
 */
export class IommufdReplay {
  readonly #options: IommufdReplayOptions;
  readonly #journal: ReplayJournal;
  readonly #contexts = new Map<number, Context>();

  constructor(options: IommufdReplayOptions, journal: ReplayJournal) {
    this.#options = options;
    this.#journal = journal;
  }

  /** The IOVA spaces that there are now. */
  get spaces(): ReplaySpace[] {
    const all = [...this.#contexts.values()].flatMap(({ ioas }) => [...ioas.values()]);
    return all.filter(({ id }) => id !== undefined).map(({ space }) => space);
  }

  /** Runs an event; gives the request with both answers, if it is one. */
  async apply(event: IommufdEvent): Promise<ReplayStep | undefined> {
    switch (event.type) {
      case 'iommufd-connect':
        return undefined;
      case 'iommufd-disconnect':
        if (event.users === 0) await this.#end(event.fd);
        return undefined;
      case 'iommufd-alloc-ioas':
        await this.#allocIoas(event);
        return undefined;
      case 'iommufd-map-dma':
      case 'iommufd-map-file-dma':
        return await this.#map(event);
      case 'iommufd-unmap-dma':
      case 'iommufd-unmap-dma-non-exist':
        return await this.#unmap(event);
      case 'iommufd-alloc-hwpt':
        return await this.#allocHwpt(event);
      case 'iommufd-free-id':
        return await this.#free(event);
      case 'iommufd-set-dirty':
      case 'iommufd-get-dirty-bitmap':
        return await this.#dirty(event);
    }
  }

  /** The space of an address space, which begins where it is first named. */
  async spaceOf(fd: number, id: number): Promise<ReplaySpace> {
    return (await this.#ioas(this.#context(fd), id)).space;
  }

  /** Ends all contexts. */
  async close(): Promise<void> {
    for (const fd of [...this.#contexts.keys()]) await this.#end(fd);
  }

  #context(fd: number): Context {
    const known = this.#contexts.get(fd);
    if (known !== undefined) return known;
    const { profile, memory } = this.#options;
    const context: Context = {
      fd,
      iommufd: new Iommufd({ profile, memory }),
      ioas: new Map(),
      hwpts: new Map(),
      devices: new Map(),
    };
    this.#contexts.set(fd, context);
    return context;
  }

  async #end(fd: number): Promise<void> {
    const context = this.#contexts.get(fd);
    if (context === undefined) return;
    this.#contexts.delete(fd);
    for (const ioas of context.ioas.values()) {
      if (ioas.id !== undefined) this.#journal.ended(ioas.space, measureHoles(ioas.space.table.snapshot()));
    }
    await context.iommufd.close();
  }

  async #ioas(context: Context, id: number): Promise<LoggedIoas> {
    return context.ioas.get(id) ?? (await this.#newIoas(context, id));
  }

  async #newIoas(context: Context, id: number): Promise<LoggedIoas> {
    const made = await context.iommufd.ioasAlloc();
    const table = context.iommufd.ioasTable(made);
    const domain = this.#options.createDomain({ dirtyTracking: false });
    // Not through a device of the model: the address space has to look unused to `destroy`.
    await table.addDomain(domain);
    const space = new ReplaySpace(`ioas ${id} of iommufd ${context.fd}`, table, domain);
    const ioas: LoggedIoas = { space, id: made };
    context.ioas.set(id, ioas);
    return ioas;
  }

  async #allocIoas(event: IommufdAllocIoas): Promise<void> {
    const context = this.#context(event.iommufd);
    const before = context.ioas.get(event.ioas);
    // The log must have lost the line in which the one before was freed.
    if (before?.id !== undefined) await this.#destroyIoas(context, before, before.id);
    await this.#newIoas(context, event.ioas);
  }

  async #destroyIoas(context: Context, ioas: LoggedIoas, id: number): Promise<Answer> {
    const holes = measureHoles(ioas.space.table.snapshot());
    const given = await answer(async () => {
      await context.iommufd.destroy(id);
      return DONE;
    });
    if (given.code === 'OK') {
      ioas.id = undefined;
      this.#journal.ended(ioas.space, holes);
    }
    return given;
  }

  async #map(event: IommufdMapDma | IommufdMapFileDma): Promise<ReplayStep> {
    const { iova, length } = event;
    const context = this.#context(event.iommufd);
    const ioas = await this.#ioas(context, event.ioas);
    const prot = event.readonly ? 'r' : 'rw';
    const [source, uptr, memory] =
      event.type === 'iommufd-map-dma'
        ? [`user ${hex(event.uptr)}`, event.uptr, undefined]
        : [`byte ${hex(event.start)} of file ${event.fd}`, event.start, this.#options.fileMemory(event.fd)];
    const operation = `map ${rangeInWords(iova, length)} of ioas ${event.ioas} from ${source} (${prot})`;
    const map = () =>
      onIoas(ioas, event.ioas, async (id) => {
        await context.iommufd.ioasMap({ ioas: id, iova, length, uptr, prot, memory });
        return MAPPED;
      });
    const given = await mapAsLogged(this.#options, loggedAnswer(event), { uptr, length }, map);
    return this.#compare(event, operation, given, ioas.space, changedBy(iova, length));
  }

  async #unmap(event: IommufdUnmapDma): Promise<ReplayStep> {
    const { iova, length } = event;
    const context = this.#context(event.iommufd);
    const ioas = await this.#ioas(context, event.ioas);
    const operation = `unmap ${rangeInWords(iova, length)} of ioas ${event.ioas}`;
    const given = await onIoas(ioas, event.ioas, async (id) =>
      unmappedAnswer(await context.iommufd.ioasUnmap({ ioas: id, iova, length })),
    );
    return this.#compare(event, operation, given, ioas.space, changedBy(iova, length));
  }

  async #allocHwpt(event: IommufdAllocHwpt): Promise<ReplayStep | undefined> {
    const context = this.#context(event.iommufd);
    if (event.dataType !== 0 || context.hwpts.has(event.parent)) {
      if (event.result === 0) context.hwpts.set(event.hwpt, undefined);
      this.#journal.leftOut();
      return undefined;
    }
    const ioas = await this.#ioas(context, event.parent);
    const device = await this.#device(context, event.device);
    const operation = `make page table ${event.hwpt} on ioas ${event.parent} for device ${event.device}`;
    let made: number | undefined;
    const given = await onIoas(ioas, event.parent, async (ptId) => {
      const flags = Number(event.flags & 0xffff_ffffn);
      const fields = { flags, devId: device.id, ptId, dataType: 0, dataLen: event.dataLength };
      made = await context.iommufd.context.run('hwpt_alloc', () =>
        hwptAlloc(context.iommufd.context, fields),
      );
      this.#journal.settingChanged(ioas.space);
      return DONE;
    });
    if (event.result === 0)
      context.hwpts.set(event.hwpt, made === undefined ? undefined : { ioas, id: made });
    // The log has no id by which it would be freed.
    else if (made !== undefined) await context.iommufd.destroy(made);
    return this.#compare(event, operation, given, ioas.space);
  }

  async #device(context: Context, id: number): Promise<BoundDevice> {
    const known = context.devices.get(id);
    if (known !== undefined) return known;
    const device = await context.iommufd.deviceBind({
      name: `device ${id}`,
      dirtyTracking: true,
      createDomain: ({ dirtyTracking }): IommuDomain => this.#options.createDomain({ dirtyTracking }),
    });
    context.devices.set(id, device);
    return device;
  }

  async #free(event: IommufdFreeId): Promise<ReplayStep | undefined> {
    const context = this.#context(event.iommufd);
    const operation = `free object ${event.id}`;
    const ioas = context.ioas.get(event.id);
    if (ioas?.id !== undefined) {
      const given = await this.#destroyIoas(context, ioas, ioas.id);
      return this.#compare(event, operation, given, ioas.space);
    }
    const hwpt = context.hwpts.get(event.id);
    if (hwpt !== undefined) {
      const { id } = hwpt;
      const given = await answer(async () => {
        await context.iommufd.destroy(id);
        context.hwpts.delete(event.id);
        this.#journal.settingChanged(hwpt.ioas.space);
        return DONE;
      });
      return this.#compare(event, operation, given, hwpt.ioas.space);
    }
    if (event.result === 0) context.hwpts.delete(event.id);
    this.#journal.leftOut();
    return undefined;
  }

  async #dirty(event: IommufdSetDirty | IommufdGetDirtyBitmap): Promise<ReplayStep | undefined> {
    const context = this.#context(event.iommufd);
    const hwpt = context.hwpts.get(event.hwpt);
    if (hwpt === undefined) {
      this.#journal.leftOut();
      return undefined;
    }
    const { ioas, id } = hwpt;
    const { iommufd } = context;
    if (event.type === 'iommufd-set-dirty') {
      const { enable } = event;
      const given = await answer(async () => {
        await iommufd.setDirtyTracking({ hwpt: id, enable });
        return DONE;
      });
      const operation = `${enable ? 'start' : 'stop'} dirty tracking of page table ${event.hwpt}`;
      return this.#compare(event, operation, given, ioas.space);
    }
    const { iova, length, pageSize } = event;
    const given = await answer(async () => {
      const noClear = (event.flags & 1n) !== 0n;
      await iommufd.getDirtyBitmap({ hwpt: id, iova, length, pageSize, bitmap: NO_BITS, noClear });
      return DONE;
    });
    const where = `${rangeInWords(iova, length)} of page table ${event.hwpt}`;
    return this.#compare(event, `read dirty bits of ${where} by ${hex(pageSize)}`, given, ioas.space);
  }

  #compare(
    event: Extract<IommufdEvent, { readonly result: number }>,
    operation: string,
    given: Answer,
    space: ReplaySpace,
    changed?: ReplayStep['changed'],
  ): ReplayStep {
    const logged = loggedAnswer(event);
    const step = { line: event.line, operation, logged, answer: given, space, changed };
    return compared(step, agree(logged, given.code), this.#journal);
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

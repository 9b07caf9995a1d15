/** Replaying a trace of page tables and domains alone, whose functions were called without an ioctl layer. */
import type { IommuDomain } from '../../../domain/iommu-domain.js';
import { IommuError } from '../../../errors.js';
import { IoPagetable } from '../../../io-pagetable.js';
import type { ProcessMemory } from '../../../memory/process-memory.js';
import type { Profile } from '../../../rules.js';
import { checkMap, MockDomain } from '../../../testing/index.js';
import { hex, MAX_U64 } from '../../../u64.js';
import type { TraceArguments } from './trace-arguments.js';
import {
  type Answer,
  DONE,
  failing,
  memoryInspector,
  memoryOperations,
  type TraceOperation,
  type TraceTarget,
} from './trace-target.js';

interface Attached {
  readonly domain: IommuDomain;
  readonly table: IoPagetable;
}

/** One process with page tables. */
export class TableTrace implements TraceTarget {
  readonly operations: ReadonlyMap<string, TraceOperation>;
  readonly #memory: ProcessMemory;
  readonly #profile: Profile;
  readonly #tables = new Map<string, IoPagetable>();
  readonly #domains = new Map<string, Attached>();

  constructor(memory: ProcessMemory, profile: Profile) {
    this.#memory = memory;
    this.#profile = profile;
    this.operations = new Map<string, TraceOperation>([
      ['ioas_alloc', (fields) => this.#alloc(fields)],
      ['ioas_destroy', (fields) => this.#destroy(fields)],
      ['map', (fields) => this.#map(fields)],
      ['unmap', (fields) => this.#unmap(fields)],
      ['copy', (fields) => this.#copy(fields)],
      ['reserve', (fields) => this.#reserve(fields)],
      ['domain_add', (fields) => this.#addDomain(fields)],
      ['domain_remove', (fields) => this.#removeDomain(fields)],
      ['check_map', (fields) => this.#checkMap(fields)],
      ...memoryOperations(memory, memoryInspector(memory)).filter(([name]) => name === 'page_pins'),
    ]);
  }

  table(ioas: string): IoPagetable | undefined {
    return this.#tables.get(ioas);
  }

  check(): void {
    for (const table of this.#tables.values()) table.check();
  }

  async close(): Promise<void> {
    for (const { table, domain } of this.#domains.values()) await table.removeDomain(domain);
    for (const table of this.#tables.values()) await table.unmapAll();
  }

  async #alloc(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('ioas');
    this.#tables.set(handle, new IoPagetable({ memory: this.#memory, profile: this.#profile }));
    return DONE;
  }

  async #destroy(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('ioas');
    await found(this.#tables, handle).unmapAll();
    this.#tables.delete(handle);
    return DONE;
  }

  async #map(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('ioas');
    const request = fields.mapping();
    return { iova: hex(await found(this.#tables, handle).map(request)) };
  }

  /** The kernel gave no byte count: the length of the operation stays what it was. */
  async #unmap(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('ioas');
    const { iova, length } = fields.iovaRange();
    const answer = { unmapped: hex(length) };
    return await failing(
      async () => {
        const table = found(this.#tables, handle);
        await (iova === 0n && length === MAX_U64 ? table.unmapAll() : table.unmap(iova, length));
        return answer;
      },
      () => answer,
    );
  }

  async #copy(fields: TraceArguments): Promise<Answer> {
    const [dst, src] = [fields.text('dst'), fields.text('src')];
    const request = fields.copying();
    const from = found(this.#tables, src);
    return { iova: hex(await found(this.#tables, dst).copy({ from, ...request })) };
  }

  async #reserve(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('ioas');
    const [start, length] = [fields.hex('start'), fields.hex('length')];
    await found(this.#tables, handle).reserveIova({ start, last: start + length - 1n, owner: null });
    return DONE;
  }

  async #addDomain(fields: TraceArguments): Promise<Answer> {
    const [handle, ioas] = [fields.text('domain'), fields.text('ioas')];
    const [huge, dirty] = [fields.flag('huge'), fields.flag('dirty')];
    const domain = new MockDomain({
      profile: this.#profile,
      huge,
      dirty,
      ...(fields.has('io_page') ? { ioPageSize: fields.number('io_page') } : {}),
      ...(fields.has('aperture') ? { aperture: fields.range('aperture') } : {}),
    });
    const table = found(this.#tables, ioas);
    await table.addDomain(domain);
    this.#domains.set(handle, { domain, table });
    return DONE;
  }

  async #removeDomain(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('domain');
    const { table, domain } = found(this.#domains, handle);
    await table.removeDomain(domain);
    this.#domains.delete(handle);
    return DONE;
  }

  async #checkMap(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('domain');
    const request = { ...fields.iovaRange(), uptr: fields.hex('uptr') };
    const domain = () => found(this.#domains, handle).domain;
    await checkMap({ ...request, memory: this.#memory, domain });
    return DONE;
  }
}

/** @throws ENOENT if the handle names nothing that exists. */
function found<T>(objects: ReadonlyMap<string, T>, handle: string): T {
  const object = objects.get(handle);
  if (object !== undefined) return object;
  throw new IommuError('ENOENT', { check: 'object', id: handle, detail: 'does not exist' });
}

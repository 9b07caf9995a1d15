/**
 * Replaying a trace of page tables alone through `uapi`.
 *
 * It is of a kernel without ioctls. Here its address spaces stand behind the commands of today, whose own checks no such
 * trace can tell from it. Its domains have io pages and apertures that the mock device of the test driver has not: the
 * process binds devices that have them, as it would bind real ones, and makes page tables for them.
 */
import type { IoPagetable } from '../src/io-pagetable.js';
import type { IommuDevice } from '../src/iommufd/iommu-device.js';
import type { ProcessMemory } from '../src/memory/process-memory.js';
import type { TraceArguments } from '../src/replay/formats/trace/trace-arguments.js';
import {
  type Answer,
  DONE,
  failing,
  memoryOperations,
  type TraceOperation,
  type TraceTarget,
} from '../src/replay/formats/trace/trace-target.js';
import { MockDomain, type MockDomainOptions } from '../src/testing/mock-domain.js';
import { hex } from '../src/u64.js';
import type { UapiKernel } from './uapi-kernel.js';

/** An object id that no object ever has. */
const NO_OBJECT = 0;

/** One process with one device. */
export class TableUapiTrace implements TraceTarget {
  readonly operations: ReadonlyMap<string, TraceOperation>;
  readonly #kernel: UapiKernel;
  readonly #spaces = new Map<string, number>();
  readonly #domains = new Map<string, number>();

  /** @param memory - the memory of the process that uses the kernel */
  constructor(kernel: UapiKernel, memory: ProcessMemory) {
    this.#kernel = kernel;
    this.operations = new Map<string, TraceOperation>([
      ['ioas_alloc', (fields) => this.#alloc(fields)],
      ['ioas_destroy', (fields) => this.#destroy(this.#spaces, fields.text('ioas'))],
      ['map', (fields) => this.#map(fields)],
      ['unmap', (fields) => this.#unmap(fields)],
      ['copy', (fields) => this.#copy(fields)],
      ['reserve', (fields) => this.#reserve(fields)],
      ['domain_add', (fields) => this.#addDomain(fields)],
      ['domain_remove', (fields) => this.#destroy(this.#domains, fields.text('domain'))],
      ['check_map', (fields) => this.#checkMap(fields)],
      ...memoryOperations(memory, kernel).filter(([name]) => name === 'page_pins'),
    ]);
  }

  table(ioas: string): IoPagetable | undefined {
    const id = this.#spaces.get(ioas);
    return id === undefined ? undefined : this.#kernel.ioasTable(id);
  }

  check(): void {
    this.#kernel.check();
  }

  async close(): Promise<void> {
    await this.#kernel.close();
  }

  async #alloc(fields: TraceArguments): Promise<Answer> {
    this.#spaces.set(fields.text('ioas'), await this.#kernel.ioasAlloc());
    return DONE;
  }

  async #destroy(objects: Map<string, number>, handle: string): Promise<Answer> {
    await this.#kernel.destroy(objects.get(handle) ?? NO_OBJECT);
    objects.delete(handle);
    return DONE;
  }

  async #map(fields: TraceArguments): Promise<Answer> {
    const request = { ioas: this.#ioas(fields), ...fields.mapping() };
    return { iova: hex(await this.#kernel.ioasMap(request)) };
  }

  /** The kernel gave no byte count: the length of the operation stays what it was. */
  async #unmap(fields: TraceArguments): Promise<Answer> {
    const request = { ioas: this.#ioas(fields), ...fields.iovaRange() };
    const answer = { unmapped: hex(request.length) };
    return await failing(
      async () => {
        await this.#kernel.ioasUnmap(request);
        return answer;
      },
      () => answer,
    );
  }

  async #copy(fields: TraceArguments): Promise<Answer> {
    const iova = await this.#kernel.ioasCopy({
      from: this.#ioas(fields, 'src'),
      to: this.#ioas(fields, 'dst'),
      ...fields.copying(),
    });
    return { iova: hex(iova) };
  }

  async #reserve(fields: TraceArguments): Promise<Answer> {
    const request = { ioas: this.#ioas(fields), start: fields.hex('start'), length: fields.hex('length') };
    await this.#kernel.addReserved(request);
    return DONE;
  }

  async #addDomain(fields: TraceArguments): Promise<Answer> {
    const handle = fields.text('domain');
    const ioas = this.#ioas(fields);
    const options = {
      huge: fields.flag('huge'),
      dirty: fields.flag('dirty'),
      profile: this.#kernel.device.profile,
      ...(fields.has('io_page') ? { ioPageSize: fields.number('io_page') } : {}),
      ...(fields.has('aperture') ? { aperture: fields.range('aperture') } : {}),
    };
    const { id: device } = await this.#kernel.device.iommufd.deviceBind(hardware(handle, options));
    this.#domains.set(handle, await this.#kernel.hwptAlloc({ device, ioas }));
    return DONE;
  }

  async #checkMap(fields: TraceArguments): Promise<Answer> {
    const hwpt = this.#domains.get(fields.text('domain')) ?? NO_OBJECT;
    const request = { ...fields.iovaRange(), uptr: fields.hex('uptr') };
    await this.#kernel.checkMap({ hwpt, ...request });
    return DONE;
  }

  #ioas(fields: TraceArguments, name = 'ioas'): number {
    return this.#spaces.get(fields.text(name)) ?? NO_OBJECT;
  }
}

/** A device whose IOMMU has such domains. */
function hardware(name: string, options: MockDomainOptions): IommuDevice {
  return { name, createDomain: () => new MockDomain(options) };
}

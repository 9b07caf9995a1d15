/** Memory of a device that a program has mapped. */
import { checkBoolean, checkObject, readValue } from '../arguments.js';
import { refuse } from '../errors.js';
import type { Context } from '../iommufd/context.js';
import type { IommufdObject } from '../iommufd/object-table.js';
import { rulesOf } from '../rules.js';
import { PAGE_SIZE, type U64Input } from '../u64.js';

const PAGE = BigInt(PAGE_SIZE);

/** What mmap(2) of a device is given. */
export interface DeviceMmapRequest {
  /** Where in the device; drivers tell it. */
  readonly offset: U64Input;
  /** Number of bytes; the rest of the last page is mapped, too. */
  readonly length: U64Input;
  /** Whether the program asks for MAP_SHARED. */
  readonly shared: boolean;
  /** Whether the program asks for PROT_EXEC. Default false. */
  readonly executable?: boolean | undefined;
}

/** Memory of a driver that a program has mapped. It keeps the object that it belongs to in use. */
export class DeviceMapping {
  /** The memory itself, which the driver sees, too. */
  readonly bytes: Uint8Array;
  readonly #owner: IommufdObject;
  readonly #unmapped: () => Promise<void>;
  #ended = false;

  /** @internal */
  constructor(bytes: Uint8Array, owner: IommufdObject, unmapped: () => Promise<void>) {
    this.bytes = bytes;
    this.#owner = owner;
    this.#unmapped = unmapped;
    owner.users += 1;
  }

  /** munmap(2) of the last part of it, in the last process that has it. Nothing happens the second time. */
  async unmap(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#owner.users -= 1;
    await this.#unmapped();
  }
}

/**
 * Finds what a program maps.
 *
 * @throws ENODEV if devices of the profile have no mmap, EINVAL if nothing is asked for or not MAP_SHARED, EPERM for
 * PROT_EXEC, ENXIO unless it is exactly one window.
 *
 * @internal
 */
export function findWindow(
  context: Context,
  request: DeviceMmapRequest,
): { bytes: Uint8Array; owner: IommufdObject } {
  checkObject(request, 'request');
  const { shared, executable = false } = request;
  checkBoolean(shared, 'request.shared');
  checkBoolean(executable, 'request.executable');
  const offset = readValue(request.offset, 'request.offset');
  const length = readValue(request.length, 'request.length');
  if (!rulesOf(context.profile).deviceHasMmap) {
    throw refuse('ENODEV', 'unsupported', 'the device has no memory to be mapped');
  }
  if (length === 0n) throw refuse('EINVAL', 'argument', 'the length is 0');
  if (!shared) throw refuse('EINVAL', 'argument', 'memory of the device is only mapped shared');
  if (executable) throw refuse('EPERM', 'argument', 'memory of the device is not executed');
  const window = context.windows.at(offset);
  const owner = window?.owner();
  if (window === undefined || owner === undefined || BigInt(window.bytes.length) !== roundUp(length)) {
    throw refuse('ENXIO', 'argument', 'the device has no such memory to be mapped');
  }
  return { bytes: window.bytes, owner };
}

function roundUp(length: bigint): bigint {
  return (length + PAGE - 1n) & -PAGE;
}

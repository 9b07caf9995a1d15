/** The VFIO type 1 calls. Their argument is a plain value or the address of a struct. */
import { IommuError, refuse } from '../errors.js';
import { vfioCheckExtension, vfioMap, vfioSetIommu, vfioUnmap } from '../iommufd/vfio.js';
import { vfioInfo } from '../iommufd/vfio-info.js';
import type { Arrival, Body } from './call.js';
import { type Command, FIRST_RELEASE } from './command-row.js';
import type { Handlers, Target } from './handlers.js';
import { routesOf } from './route.js';
import { readU32 } from './struct.js';
import { VFIO_COMMANDS, VFIO_REQUEST } from './vfio-commands.js';
import { infoParts } from './vfio-info-bytes.js';

/** A VFIO type 1 call. */
export interface VfioCall {
  /** What errors call it. */
  readonly name: string;
  /** Performs it and gives its answer. What it throws is the answer otherwise. */
  readonly perform: (arrival: Arrival) => Promise<number>;
}

/** The calls with a plain value, by name. What they give is the answer. */
const valueHandlers: {
  readonly [Name in keyof typeof VFIO_REQUEST]: (value: number, target: Target) => Promise<number>;
} = {
  async GET_API_VERSION() {
    return 0;
  },

  CHECK_EXTENSION: (extension, { iommufd }) => vfioCheckExtension(iommufd.context, extension),

  async SET_IOMMU(type, { iommufd }) {
    await vfioSetIommu(iommufd.context, type);
    return 0;
  },
};

/** The calls with a struct, by name. */
const structHandlers: Handlers<typeof VFIO_COMMANDS> = {
  async VFIO_IOMMU_GET_INFO({ fields, user, argument }, { iommufd }) {
    const info = await vfioInfo(iommufd.context);
    for (const { offset, bytes } of infoParts(info, fields.argsz)) {
      await user.write(argument + BigInt(offset), bytes);
    }
  },

  async VFIO_IOMMU_MAP_DMA({ fields, caller }, { iommufd }) {
    await vfioMap(iommufd.context, fields, caller);
  },

  /** The bytes unmapped are told as soon as the unmap was reached, whatever came out. */
  async VFIO_IOMMU_UNMAP_DMA(call, { iommufd }) {
    try {
      await call.respond({ size: await vfioUnmap(iommufd.context, call.fields) });
    } catch (error) {
      if (error instanceof IommuError && error.unmapped !== undefined) {
        await call.respond({ size: error.unmapped });
      }
      throw error;
    }
  },
};

/** The calls of a device by request number. */
export function vfioCalls(target: Target): ReadonlyMap<number, VfioCall> {
  const calls = new Map<number, VfioCall>();
  for (const name of Object.keys(VFIO_REQUEST) as (keyof typeof VFIO_REQUEST)[]) {
    const perform = ({ argument }: Arrival) => valueHandlers[name](Number(argument), target);
    calls.set(VFIO_REQUEST[name], { name: `vfio_${name.toLowerCase()}`, perform });
  }
  for (const { name, command, perform } of routesOf(VFIO_COMMANDS, structHandlers, target, FIRST_RELEASE)) {
    calls.set(command.request, {
      name,
      async perform(arrival) {
        await perform(arrival, await readLeast(command, arrival));
        return 0;
      },
    });
  }
  return calls;
}

/**
 * Reads as much of a struct as VFIO looks at. A longer one is fine, whatever is in it.
 *
 * @throws EFAULT if it cannot be read, EINVAL if the caller says that it is shorter.
 */
async function readLeast({ least, struct }: Command, { user, argument }: Arrival): Promise<Body> {
  const bytes = new Uint8Array(struct.length);
  await user.read(argument, bytes, least);
  const argsz = readU32(bytes, 0);
  if (argsz < least) {
    throw refuse('EINVAL', 'argument', `the struct has ${argsz} bytes; the least are ${least}`);
  }
  return { bytes, length: least };
}

/** The VFIO type 1 calls. Their argument is a plain value or the address of a struct. */
import { IommuError, refuse } from '../errors.js';
import type { Context } from '../iommufd/context.js';
import { vfioCheckExtension, vfioMap, vfioSetIommu, vfioUnmap } from '../iommufd/vfio.js';
import { vfioInfo } from '../iommufd/vfio-info.js';
import { type Arrival, Call, commandOf } from './call.js';
import { VFIO_COMMANDS, VFIO_REQUEST, type VfioCommandName } from './commands.js';
import { readU32 } from './struct.js';
import { infoParts } from './vfio-info.js';

/** A VFIO type 1 call. */
export interface VfioCall {
  /** What errors call it. */
  readonly name: string;
  /** Performs it and gives its answer. What it throws is the answer otherwise. */
  readonly perform: (arrival: Arrival, context: Context) => Promise<number>;
}

async function checkExtension({ argument }: Arrival, context: Context): Promise<number> {
  return await vfioCheckExtension(context, Number(argument));
}

async function setIommu({ argument }: Arrival, context: Context): Promise<number> {
  await vfioSetIommu(context, Number(argument));
  return 0;
}

async function getInfo(arrival: Arrival, context: Context): Promise<number> {
  const { fields, user, argument } = await readCall('VFIO_IOMMU_GET_INFO', arrival);
  const info = await vfioInfo(context);
  for (const { offset, bytes } of infoParts(info, fields.argsz)) {
    await user.write(argument + BigInt(offset), bytes);
  }
  return 0;
}

async function mapDma(arrival: Arrival, context: Context): Promise<number> {
  const { fields, caller } = await readCall('VFIO_IOMMU_MAP_DMA', arrival);
  await vfioMap(context, fields, caller);
  return 0;
}

/** The bytes unmapped are told as soon as the unmap was reached, whatever came out. */
async function unmapDma(arrival: Arrival, context: Context): Promise<number> {
  const call = await readCall('VFIO_IOMMU_UNMAP_DMA', arrival);
  try {
    await call.respond({ size: await vfioUnmap(context, call.fields) });
  } catch (error) {
    if (error instanceof IommuError && error.unmapped !== undefined) {
      await call.respond({ size: error.unmapped });
    }
    throw error;
  }
  return 0;
}

/**
 * Reads as much of a struct as VFIO looks at. A longer one is fine, whatever is in it.
 *
 * @throws EFAULT if it cannot be read, EINVAL if the caller says that it is shorter.
 */
async function readCall<N extends VfioCommandName>(name: N, arrival: Arrival): Promise<Call<N>> {
  const { least, struct } = commandOf(name);
  const bytes = new Uint8Array(struct.length);
  await arrival.user.read(arrival.argument, bytes, least);
  const argsz = readU32(bytes, 0);
  if (argsz < least) {
    throw refuse('EINVAL', 'argument', `the struct has ${argsz} bytes; the least are ${least}`);
  }
  return new Call(name, arrival, { bytes, length: least });
}

/** By request number. */
export const VFIO_CALLS: ReadonlyMap<number, VfioCall> = new Map<number, VfioCall>([
  [VFIO_REQUEST.GET_API_VERSION, { name: 'vfio_get_api_version', perform: async () => 0 }],
  [VFIO_REQUEST.CHECK_EXTENSION, { name: 'vfio_check_extension', perform: checkExtension }],
  [VFIO_REQUEST.SET_IOMMU, { name: 'vfio_set_iommu', perform: setIommu }],
  [VFIO_COMMANDS.VFIO_IOMMU_GET_INFO.request, { name: 'vfio_get_info', perform: getInfo }],
  [VFIO_COMMANDS.VFIO_IOMMU_MAP_DMA.request, { name: 'vfio_map', perform: mapDma }],
  [VFIO_COMMANDS.VFIO_IOMMU_UNMAP_DMA.request, { name: 'vfio_unmap', perform: unmapDma }],
]);

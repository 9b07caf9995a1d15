/** The GET_HW_INFO command: what a bound device tells about its IOMMU. */
import { checkInteger, invalidType } from '../arguments.js';
import { BoundDevice } from './bound-device.js';
import type { Context } from './context.js';
import type { HardwareInfo } from './iommu-device.js';

/** Bit of `capabilities`: the IOMMU can track dirty pages. */
export const HW_CAPABILITY_DIRTY_TRACKING = 1n;

/** What GET_HW_INFO answers. */
export interface HwInfo extends HardwareInfo {
  /** log2 of the largest number of address spaces the device can use at once; 0 for one. */
  readonly maxPasidLog2: number;
  /** Bits: `HW_CAPABILITY_DIRTY_TRACKING`. */
  readonly capabilities: bigint;
}

const NOTHING_TO_TELL: HardwareInfo = { type: 0, data: new Uint8Array(0) };

/**
 * GET_HW_INFO.
 *
 * @throws ENOENT if there is no such bound device.
 *
 * @internal
 */
export async function getHwInfo(context: Context, fields: { readonly devId: number }): Promise<HwInfo> {
  const { device } = context.objects.get(fields.devId, BoundDevice);
  const { type, data } = device.hardwareInfo ?? NOTHING_TO_TELL;
  checkInteger(type, 'hardwareInfo.type', 0, 0xffff_ffff);
  if (!(data instanceof Uint8Array)) throw invalidType(data, 'hardwareInfo.data', 'a Uint8Array');
  return {
    type,
    data: data.slice(),
    maxPasidLog2: 0,
    capabilities: device.dirtyTracking ? HW_CAPABILITY_DIRTY_TRACKING : 0n,
  };
}

/** The GET_HW_INFO command: what a bound device tells about its IOMMU. */
import { checkInteger, invalidType } from '../arguments.js';
import { refuse } from '../errors.js';
import { rulesOf } from '../rules.js';
import { hex } from '../u64.js';
import { BoundDevice } from './bound-device.js';
import type { Context } from './context.js';
import { refuseFlags } from './ioas-commands.js';
import type { HardwareInfo } from './iommu-device.js';

/** Bit of `capabilities`: the IOMMU can track dirty pages. */
export const HW_CAPABILITY_DIRTY_TRACKING = 1n;
/** Bit of `capabilities`: the device cannot translate addresses ahead (ATS). Earlier kernels do not tell. */
export const HW_CAPABILITY_NO_ATS = 8n;

/** Flags of GET_HW_INFO. */
export const GET_HW_INFO = Object.freeze({
  /** The answer is wanted in data of a certain type. */
  TYPE_WANTED: 1,
} as const);

/** What GET_HW_INFO answers. */
export interface HwInfo extends HardwareInfo {
  /** log2 of the largest number of address spaces the device can use at once; 0 for one. */
  readonly maxPasidLog2: number;
  /** Bits: `HW_CAPABILITY_DIRTY_TRACKING`, `HW_CAPABILITY_NO_ATS`. */
  readonly capabilities: bigint;
}

/** PASIDs have 20 bits. */
const LARGEST_PASID_LOG2 = 20;
const NOTHING_TO_TELL: HardwareInfo = { type: 0, data: new Uint8Array(0) };

/** The fields of GET_HW_INFO that are looked at. */
export interface HwInfoFields {
  readonly flags: number;
  /** Id of a bound device. */
  readonly devId: number;
  /** The type of data that is wanted, with TYPE_WANTED; 0: whatever the device has. */
  readonly outDataType: number;
}

/**
 * GET_HW_INFO.
 *
 * @throws EOPNOTSUPP for unknown flags, ENOENT if there is no such bound device, EOPNOTSUPP if it has no data of the type
 * that is wanted.
 *
 * @internal
 */
export async function getHwInfo(context: Context, fields: HwInfoFields): Promise<HwInfo> {
  const { flags, devId, outDataType: wanted } = fields;
  const { hardwareInfoTakesType, hardwareInfoTellsAts } = rulesOf(context.profile);
  refuseFlags(flags, hardwareInfoTakesType ? GET_HW_INFO.TYPE_WANTED : 0);
  const { device } = context.objects.get(devId, BoundDevice);
  const { type, data } = device.hardwareInfo ?? NOTHING_TO_TELL;
  checkInteger(type, 'hardwareInfo.type', 0, 0xffff_ffff);
  if (!(data instanceof Uint8Array)) throw invalidType(data, 'hardwareInfo.data', 'a Uint8Array');
  if (flags & GET_HW_INFO.TYPE_WANTED && wanted !== 0 && wanted !== type) {
    throw refuse('EOPNOTSUPP', 'unsupported', `device ${device.name} has no data of type ${hex(wanted)}`);
  }
  const { maxPasidLog2 = 0 } = device;
  checkInteger(maxPasidLog2, 'maxPasidLog2', 0, LARGEST_PASID_LOG2);
  const noAts = hardwareInfoTellsAts && device.ats !== true;
  return {
    type,
    data: data.slice(),
    maxPasidLog2,
    capabilities:
      (device.dirtyTracking ? HW_CAPABILITY_DIRTY_TRACKING : 0n) | (noAts ? HW_CAPABILITY_NO_ATS : 0n),
  };
}

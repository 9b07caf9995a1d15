/** The commands on objects, address spaces and options. */
import type { IovaRange } from '../arguments.js';
import { ioasChangeProcess } from '../iommufd/change-process.js';
import {
  type IovaRanges,
  ioasAlloc,
  ioasAllowIovas,
  ioasCopy,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
  PartialAnswerError,
} from '../iommufd/ioas-commands.js';
import { noIommuGetPa } from '../iommufd/no-iommu.js';
import { option } from '../iommufd/option.js';
import { VFIO_IOAS_OP, vfioIoas } from '../iommufd/vfio.js';
import { fileOf } from './device-caller.js';
import type { Handlers } from './handlers.js';
import { IOMMUFD_COMMANDS } from './iommufd-commands.js';
import { decodeRanges, encodeRanges, IOVA_RANGE } from './ranges.js';
import { noAccess, type UserSpace } from './user-space.js';

/** Entries of an array that are read in one go: a page of them. */
const ENTRIES = 256;

/** By name. */
export const ioasHandlers: Pick<
  Handlers<typeof IOMMUFD_COMMANDS>,
  | 'DESTROY'
  | 'IOAS_ALLOC'
  | 'IOAS_ALLOW_IOVAS'
  | 'IOAS_COPY'
  | 'IOAS_IOVA_RANGES'
  | 'IOAS_MAP'
  | 'IOAS_UNMAP'
  | 'IOAS_MAP_FILE'
  | 'IOAS_CHANGE_PROCESS'
  | 'IOAS_NOIOMMU_GET_PA'
  | 'OPTION'
  | 'VFIO_IOAS'
> = {
  DESTROY: ({ fields }, { iommufd }) => iommufd.destroy(fields.id),

  async IOAS_ALLOC(call, { iommufd }) {
    await ioasAlloc(iommufd.context, call.fields, (outIoasId) => call.respond({ outIoasId }));
  },

  async IOAS_ALLOW_IOVAS({ fields, user }, { iommufd }) {
    const ranges = readRanges(user, fields.allowedIovas, fields.numIovas);
    await ioasAllowIovas(iommufd.context, { ioasId: fields.ioasId, ranges });
  },

  async IOAS_COPY(call, { iommufd }) {
    await call.respond({ dstIova: await ioasCopy(iommufd.context, call.fields) });
  },

  async IOAS_IOVA_RANGES(call, { iommufd }) {
    const { fields, user } = call;
    let refusal: PartialAnswerError<IovaRanges> | undefined;
    let answer: IovaRanges;
    try {
      answer = await ioasIovaRanges(iommufd.context, fields);
    } catch (error) {
      if (!(error instanceof PartialAnswerError)) throw error;
      refusal = error;
      answer = error.answer;
    }
    await user.write(fields.allowedIovas, encodeRanges(answer.ranges));
    await call.respond({ numIovas: answer.total, outIovaAlignment: BigInt(answer.alignment) });
    if (refusal !== undefined) throw refusal;
  },

  async IOAS_MAP(call, { iommufd }) {
    await call.respond({ iova: await ioasMap(iommufd.context, call.fields, call.caller) });
  },

  async IOAS_MAP_FILE(call, { iommufd: { context } }) {
    const { fields, caller } = call;
    const file = () => fileOf(caller, fields.fd).file;
    await call.respond({ iova: await ioasMapFile(context, { ...fields, file }, caller) });
  },

  async IOAS_CHANGE_PROCESS({ caller }, { iommufd }) {
    await ioasChangeProcess(iommufd.context, { reserved: 0 }, caller);
  },

  async IOAS_UNMAP(call, { iommufd }) {
    await call.respond({ length: await ioasUnmap(iommufd.context, call.fields) });
  },

  async IOAS_NOIOMMU_GET_PA(call, { iommufd }) {
    const { physical, length } = await noIommuGetPa(iommufd.context, call.fields, call.caller);
    await call.respond({ length, outPhys: physical });
  },

  async OPTION({ fields, user, argument, caller }, { iommufd }) {
    const value = await option(iommufd.context, { ...fields, value: fields.val64 }, caller);
    const { at } = IOMMUFD_COMMANDS.OPTION.struct.fields.val64;
    await user.write(argument + BigInt(at), new Uint8Array(BigUint64Array.of(value).buffer));
  },

  async VFIO_IOAS(call, { iommufd }) {
    const ioasId = await vfioIoas(iommufd.context, call.fields);
    if (call.fields.op === VFIO_IOAS_OP.GET) await call.respond({ ioasId });
  },
};

/** The entries of an array of ranges. @throws EFAULT where one cannot be read */
async function* readRanges(user: UserSpace, address: bigint, count: number): AsyncGenerator<IovaRange> {
  for (let at = 0; at < count; at += ENTRIES) {
    const bytes = new Uint8Array(Math.min(ENTRIES, count - at) * IOVA_RANGE.length);
    const from = address + BigInt(at * IOVA_RANGE.length);
    const readable = await user.readUpTo(from, bytes);
    yield* decodeRanges(bytes, Math.floor(readable / IOVA_RANGE.length));
    if (readable < bytes.length) throw noAccess(from + BigInt(readable));
  }
}

/** Random messages of a hostile client: structs with fields that are almost right. */
import { headerOf } from '../../src/vfio-user/client-requests.js';
import * as protocol from '../../src/vfio-user/protocol.js';

/** Random numbers: 0 up to, but not, the argument. */
export type Random = (below: number) => number;

/** A message, and how many descriptors go with it. */
export interface HostileMessage {
  readonly bytes: Uint8Array;
  readonly descriptors: number;
}

const NUMBERS = [
  0n, 1n, 2n, 4n, 7n, 8n, 9n, 15n, 16n, 24n, 32n, 64n, 255n, 256n, 0xfffn, 0x1000n, 0x1001n, 0x2000n, 0x8000n, 0x10000n,
  0x100000n, 0x100001n, 0x7fffffffn, 0x80000000n, 0xfee00000n, 0xffffffffn, 2n ** 32n, 2n ** 47n, 2n ** 52n, 2n ** 63n,
  2n ** 64n - 4096n, 2n ** 64n - 1n,
];
const COMMANDS = [...Object.values(protocol.COMMAND), 0, 14, 19, 255, 65535];
const FLAGS = [0, 0, 0, 0, 0, 0, 0x10, 0x10, 0x10, 0x20, 0x31, 0xffffffe0];
const TEXTS = [
  '{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576}}\0',
  '{"capabilities":{"max_data_xfer_size":NaN}}\0',
  '{"capabilities":{"max_data_xfer_size":1e999}}\0',
  '{"capabilities":{"max_data_xfer_size":-1}}\0',
  '{"capabilities":{"max_data_xfer_size":1}}\0',
  '{"capabilities":null,"__proto__":{"max_data_xfer_size":1}}\0',
  '[]\0',
  '\0',
  '',
  '{"capabilities":{}}',
  `${'['.repeat(5000)}\0`,
];

type AnyStruct = protocol.AnyStruct;

const STRUCTS: Readonly<Record<number, readonly AnyStruct[]>> = {
  [protocol.COMMAND.VERSION]: [protocol.VERSION],
  [protocol.COMMAND.DMA_MAP]: [protocol.DMA_MAP],
  [protocol.COMMAND.DMA_UNMAP]: [protocol.DMA_UNMAP],
  [protocol.COMMAND.DEVICE_GET_INFO]: [protocol.DEVICE_INFO],
  [protocol.COMMAND.DEVICE_GET_REGION_INFO]: [protocol.REGION_INFO],
  [protocol.COMMAND.DEVICE_GET_REGION_IO_FDS]: [protocol.REGION_IO_FDS],
  [protocol.COMMAND.DEVICE_GET_IRQ_INFO]: [protocol.IRQ_INFO],
  [protocol.COMMAND.DEVICE_SET_IRQS]: [protocol.IRQ_SET],
  [protocol.COMMAND.REGION_READ]: [protocol.REGION_ACCESS],
  [protocol.COMMAND.REGION_WRITE]: [protocol.REGION_ACCESS],
  [protocol.COMMAND.REGION_WRITE_MULTI]: [protocol.WRITE_MULTI, protocol.MULTI_WRITE, protocol.MULTI_WRITE],
  [protocol.COMMAND.DEVICE_FEATURE]: [protocol.DEVICE_FEATURE, protocol.LOGGING_START, protocol.LOGGING_RANGE],
  [protocol.COMMAND.MIG_DATA_READ]: [protocol.MIG_DATA],
  [protocol.COMMAND.MIG_DATA_WRITE]: [protocol.MIG_DATA],
};

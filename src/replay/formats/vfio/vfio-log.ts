/**
 * The lines that QEMU's VFIO container functions print in error and debug reports:
 * `vfio_dma_map(0xCONTAINER, 0xIOVA, 0xSIZE, 0xVADDR) = RET (TEXT)` and
 * `vfio_dma_unmap(0xCONTAINER, 0xIOVA, 0xSIZE) = RET (TEXT)`, also as `vfio_container_dma_…`, behind any prefix
 * and a source line number.
 */
import { hex } from '../../../u64.js';
import { type LogPlace, type MalformedLine, malformed, quote } from '../../log-line.js';

interface VfioCall extends LogPlace {
  /** Address of QEMU's container object: which IOVA space is meant. */
  readonly container: bigint;
  readonly iova: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** 0 or a negative error number. */
  readonly result: number;
  /**
   * The C library's sentence for `errno`, cut after 200 characters; of an earlier call if `result` is 0. Untrusted.
   */
  readonly text?: string;
  /** Number of the source line that printed this, where it says so. */
  readonly sourceLine?: number;
}

/** A call that maps `length` bytes of QEMU's memory at `uptr` to `iova`. */
export interface VfioMap extends VfioCall {
  readonly type: 'vfio-map';
  /** User address in QEMU. */
  readonly uptr: bigint;
}

/** A call that unmaps `length` bytes at `iova`. */
export interface VfioUnmap extends VfioCall {
  readonly type: 'vfio-unmap';
  /** The earlier line that announced this call before it was made (see `VfioCallJoiner`). */
  readonly announcedOnLine?: number;
}

/** What a line of this format says. */
export type VfioEvent = VfioMap | VfioUnmap;

const CALL = /(?<![A-Za-z0-9_])vfio_(?:container_)?dma_(map|unmap)\(/;
const HEX = '0x([0-9a-fA-F]{1,16})';
const ANSWER = '\\) = (0|-[1-9][0-9]{0,8})(?: \\((.*)\\))?$';
const MAP = new RegExp(`^${HEX}, ${HEX}, ${HEX}, ${HEX}${ANSWER}`, 's');
const UNMAP = new RegExp(`^${HEX}, ${HEX}, ${HEX}${ANSWER}`, 's');

/** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
export function parseVfioLine(text: string, line: number): VfioEvent | MalformedLine | undefined {
  const call = CALL.exec(text);
  if (call === null) return undefined;
  const rest = text.slice(call.index + call[0].length).trimEnd();
  const kind = call[1]!;
  const match = (kind === 'map' ? MAP : UNMAP).exec(rest);
  if (match === null) {
    const address = kind === 'map' ? ', 0xVADDR' : '';
    return malformed(
      line,
      text,
      `expected ${call[0]}0xCONTAINER, 0xIOVA, 0xSIZE${address}) = RET, RET being 0 or a negative number`,
    );
  }
  const [, container, iova, length, ...others] = match;
  const uptr = kind === 'map' ? others.shift() : undefined;
  const [result, sentence] = others;
  const sourceLine = sourceLineBefore(text.slice(0, call.index));
  const fields = {
    line,
    container: BigInt(`0x${container}`),
    iova: BigInt(`0x${iova}`),
    length: BigInt(`0x${length}`),
    result: Number(result),
    ...(sentence === undefined ? {} : { text: quote(sentence) }),
    ...(sourceLine === undefined ? {} : { sourceLine }),
  };
  return uptr === undefined
    ? { type: 'vfio-unmap', ...fields }
    : { type: 'vfio-map', ...fields, uptr: BigInt(`0x${uptr}`) };
}

function sourceLineBefore(prefix: string): number | undefined {
  const before = prefix.trimEnd();
  const word = before.slice(before.lastIndexOf(' ') + 1);
  return before.length < prefix.length && /^[0-9]{1,9}$/.test(word) ? Number(word) : undefined;
}

/** The line of an event as the bug reports have it; `parseVfioLine` reads it back. */
export function formatVfioEvent(event: VfioEvent): string {
  const source = event.sourceLine === undefined ? '' : `${event.sourceLine} `;
  const name = event.type === 'vfio-map' ? 'vfio_dma_map' : 'vfio_dma_unmap';
  const addresses = [event.container, event.iova, event.length];
  if (event.type === 'vfio-map') addresses.push(event.uptr);
  const text = event.text === undefined ? '' : ` (${event.text})`;
  return `qemu-system-x86_64: ${source}${name}(${addresses.map(hex).join(', ')}) = ${event.result}${text}`;
}

/** The state of a device as bytes, for a migration: what the library keeps, and what `saveState` gives. */
import { refuse } from '../errors.js';
import { field, Struct } from '../uapi/struct.js';
import { CONFIG } from './config-space.js';
import type { PciFunction } from './pci-function.js';

/** "iopt", little endian. */
const MAGIC = 0x7470_6f69;
const VERSION = 1;

const HEAD = new Struct(16, {
  magic: field('u32', 0, 'in'),
  version: field('u32', 4, 'in'),
  /** How many sections follow, each with its length in front. */
  sections: field('u32', 8, 'in'),
  /** Whether the interrupt line is high. */
  line: field('u32', 12, 'in'),
});

const SECTION = new Struct(8, { length: field('u64', 0, 'in') });

/** Bytes that a device's own state has at most. */
const LARGEST_OWN_STATE = 2 ** 26;

/** The most bytes that a state of a device can have. */
export function largestState({ bars, config, table }: PciFunction): number {
  let total = HEAD.length + config.size + (table?.save().length ?? 0) + LARGEST_OWN_STATE;
  for (const { memory } of bars.values()) total += memory?.length ?? 0;
  return total + SECTION.length * (bars.size + 3);
}

/** The state of a device. @throws what `saveState` throws */
export function saveDevice(device: PciFunction): Uint8Array {
  const { config, table, bars, interrupts, options } = device;
  const own = options.saveState!();
  if (!(own instanceof Uint8Array) || own.length > LARGEST_OWN_STATE) {
    throw refuse('EINVAL', 'argument', `saveState gave no Uint8Array of at most ${LARGEST_OWN_STATE} bytes`);
  }
  const sections = [config.save(), table?.save() ?? new Uint8Array(0)];
  for (const { memory } of bars.values()) sections.push(memory ?? new Uint8Array(0));
  sections.push(own);
  const total = sections.reduce((sum, { length }) => sum + SECTION.length + length, HEAD.length);
  const bytes = new Uint8Array(total);
  const line = interrupts.high ? 1 : 0;
  HEAD.write(bytes, { magic: MAGIC, version: VERSION, sections: sections.length, line });
  let at = HEAD.length;
  for (const section of sections) {
    SECTION.write(bytes, { length: section.length }, at);
    bytes.set(section, at + SECTION.length);
    at += SECTION.length + section.length;
  }
  return bytes;
}

/** Takes a state that `saveDevice` gave. @throws EINVAL if it is none of such a device; what `loadState` throws */
export function loadDevice(device: PciFunction, bytes: Uint8Array): void {
  const { config, table, bars, interrupts, options } = device;
  const head = HEAD.decodePart(bytes);
  const sections = head.magic === MAGIC && head.version === VERSION ? sectionsOf(bytes, head.sections) : [];
  const memories = [...bars.values()].map(({ memory }) => memory ?? new Uint8Array(0));
  const lengths = [config.size, table?.save().length ?? 0, ...memories.map(({ length }) => length)];
  const fits =
    sections.length === lengths.length + 1 && lengths.every((length, at) => sections[at]!.length === length);
  if (!fits || !sameDevice(sections[0]!, config.save())) {
    throw refuse('EINVAL', 'argument', 'the state is of another device, or not whole');
  }
  options.loadState!(sections.at(-1)!.slice());
  config.load(sections[0]!);
  table?.load(sections[1]!);
  for (const [at, memory] of memories.entries()) memory.set(sections[2 + at]!);
  if (head.line === 1) interrupts.raiseLine();
  else interrupts.lower();
}

function sectionsOf(bytes: Uint8Array, count: number): Uint8Array[] {
  const sections: Uint8Array[] = [];
  let at = HEAD.length;
  while (sections.length < count && at + SECTION.length <= bytes.length) {
    const length = Number(SECTION.decode(bytes, at).length);
    at += SECTION.length;
    if (length > bytes.length - at) return [];
    sections.push(bytes.subarray(at, at + length));
    at += length;
  }
  return at === bytes.length && sections.length === count ? sections : [];
}

function sameDevice(state: Uint8Array, config: Uint8Array): boolean {
  return state.subarray(0, CONFIG.COMMAND).every((byte, at) => byte === config[CONFIG.VENDOR + at]);
}

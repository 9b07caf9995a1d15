/**
 * IOVA spaces with many one-page areas: what most rows are measured on.
 */
import { IoPagetable, type MemoryRegion, ProcessMemory, RadixDomain } from './core.js';
import { randomNumbers, shuffled } from './random.js';

/** Bytes of a page. */
export const PAGE = 4096;
/** Where the first area is: 4 GiB, so that addresses are no small integers. */
export const BASE = 2 ** 32;

/** User memory as a process of some age has it: neighbouring pages have frames far apart. Nothing is in it yet. */
export function scatteredMemory(pages: number): { memory: ProcessMemory; ram: MemoryRegion } {
  const memory = new ProcessMemory();
  return { memory, ram: memory.mmap({ length: pages * PAGE, frames: 'scattered', sparse: true }) };
}

/** A table in which every second page from `BASE` on is an area of one page, with a hole after each. */
export interface Space {
  readonly areas: number;
  readonly memory: ProcessMemory;
  readonly ram: MemoryRegion;
  readonly table: IoPagetable;
  readonly domain: RadixDomain | undefined;
  /** The holes in random order. */
  readonly holes: readonly bigint[];
  /** The areas in another random order. */
  readonly iovas: readonly bigint[];
  /** User addresses of single pages in a third one. */
  readonly uptrs: readonly bigint[];
}

/** How a space is made. */
export interface SpaceOptions {
  readonly domain: boolean;
  readonly dirty?: boolean;
  /** No holes: the areas follow on each other. */
  readonly packed?: boolean;
}

/** Makes a space; its areas were mapped in random order, each to another page. */
export async function spaceOf(
  areas: number,
  { domain, dirty = false, packed = false }: SpaceOptions,
): Promise<Space> {
  const random = randomNumbers();
  const { memory, ram } = scatteredMemory(areas);
  const table = new IoPagetable({ memory });
  const attached = domain ? new RadixDomain({ dirty }) : undefined;
  if (attached !== undefined) await table.addDomain(attached);
  const stride = packed ? PAGE : 2 * PAGE;
  const uptrs = pagesOf(shuffled(areas, random), Number(ram.uptr), PAGE);
  const order = shuffled(areas, random);
  const iovas = pagesOf(order, BASE, stride);
  for (let at = 0; at < areas; at++) {
    table.mapSync({ iova: iovas[at]!, uptr: uptrs[at]!, length: PAGE, prot: 'rw' });
  }
  const holes = pagesOf(shuffled(areas, random), BASE + PAGE, stride);
  return {
    areas,
    memory,
    ram,
    table,
    domain: attached,
    holes,
    iovas: pagesOf(shuffled(areas, random), BASE, stride),
    uptrs,
  };
}

function pagesOf(order: Uint32Array, base: number, stride: number): bigint[] {
  return Array.from(order, (number) => BigInt(base + number * stride));
}

/** Descriptors of this process, counted. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** How many are open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Waits until only so many are open, or for two seconds, and gives how many are. */
export async function settledDescriptors(expected: number): Promise<number> {
  for (let attempt = 0; attempt < 200 && openDescriptors() > expected; attempt++) await wait(10);
  return openDescriptors();
}

/** The lines of the memory map of this process that name something. */
export function mapsNaming(name: string): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(name));
}

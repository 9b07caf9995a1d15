/** What a device may do with a mapping. */

/** Access a mapping grants a device: read, write, both, or (VFIO only) neither. */
export type Protection = '' | 'r' | 'w' | 'rw';

/** Bit of read permission. */
export const READ = 1;
/** Bit of write permission. */
export const WRITE = 2;

const NAMES: readonly Protection[] = ['', 'r', 'w', 'rw'];

/** The name of permission bits. */
export function protectionName(bits: number): Protection {
  return NAMES[bits & (READ | WRITE)]!;
}

/** The permission bits of a name, or `undefined` if it is not one. */
export function protectionBits(name: unknown): number | undefined {
  switch (name) {
    case 'rw':
      return READ | WRITE;
    case 'r':
      return READ;
    case 'w':
      return WRITE;
    case '':
      return 0;
    default:
      return undefined;
  }
}

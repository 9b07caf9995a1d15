/**
 * The library as it is measured. The benchmark is compiled together with it by the compiler and the settings that
 * make `dist`, so this is the code that users get.
 */
export * from '../../src/index.js';
export type { MemoryRegion } from '../../src/memory/memory-region.js';

/** The tests that `npm run mutation` repeats for each mutant: those that are quick, and about the core. */
import { defineConfig } from 'vitest/config';
import whole from './vitest.config.js';

export default defineConfig({
  resolve: { ...whole.resolve },
  test: {
    include: [
      'test/{table,pages,access}/*.test.ts',
      'test/{interval-tree,spans,rw-lock,operation,room}.test.ts',
      'test/property/{corners,lock-step}.test.ts',
      'test/faults/*.test.ts',
      'test/hostile/{lock,domain,memory}.test.ts',
      'test/shared/unmap.test.ts',
      'test/inspect/check.test.ts',
    ],
    // Long enough for a busy machine, and no longer: many a mutant waits for ever.
    testTimeout: 5_000,
    // A mutant's tests load the library once and not once a file.
    isolate: false,
    setupFiles: ['test/helpers/same-seed.ts'],
    env: { PROPERTY_PART: '0.08' },
  },
});

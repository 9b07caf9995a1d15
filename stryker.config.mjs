// @ts-check
/** Mutation testing of the core: `npm run mutation`, or `npm run mutation -- --mutate src/table/copy.ts` for a part. */

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  mutate: [
    'src/table/**/*.ts',
    'src/pages/**/*.ts',
    'src/interval-tree*.ts',
    'src/spans.ts',
    'src/rw-lock.ts',
    'src/operation.ts',
    'src/room.ts',
  ],
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner'],
  vitest: { configFile: 'vitest.mutation.config.ts', related: false },
  coverageAnalysis: 'perTest',
  ignoreStatic: true,
  incremental: true,
  incrementalFile: 'reports/mutation/incremental.json',
  reporters: ['clear-text', 'html', 'progress-append-only'],
  clearTextReporter: { reportTests: false, allowColor: false, allowEmojis: false, skipFull: false },
  htmlReporter: { fileName: 'reports/mutation/report.html' },
  concurrency: 2,
  timeoutMS: 3000,
  timeoutFactor: 1.25,
  thresholds: { high: 95, low: 90, break: 85 },
  ignorePatterns: ['dist', 'docs', 'api', 'bench', 'examples', 'coverage', 'reports', 'test/.snippets'],
};

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

/** What the model stands on; each of these is held to the thresholds by itself. */
const CORE = [
  '*.ts',
  ...'memory domain pages table access inspect iommufd'.split(' ').map((folder) => `${folder}/**`),
];

export default defineConfig({
  resolve: {
    alias: [
      { find: /^io-pagetable$/, replacement: source('index.ts') },
      { find: /^io-pagetable\/testing$/, replacement: source('testing/index.ts') },
      { find: /^io-pagetable\/replay$/, replacement: source('replay/index.ts') },
      { find: /^io-pagetable\/render$/, replacement: source('render/index.ts') },
      { find: /^io-pagetable\/uapi$/, replacement: source('uapi/index.ts') },
      { find: /^io-pagetable\/vfio-user$/, replacement: source('vfio-user/index.ts') },
    ],
  },
  test: {
    testTimeout: 120_000,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // The program in reports runs in a browser; test/browser tests it there.
      exclude: ['src/render/client/**', 'src/render/html-assets.ts'],
      reporter: [['text', { skipFull: true }], 'text-summary'],
      thresholds: Object.fromEntries(CORE.map((part) => [`src/${part}`, { lines: 98, branches: 98 }])),
    },
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/browser/**'] } },
      { extends: true, test: { name: 'browser', include: ['test/browser/**/*.test.ts'] } },
      { extends: true, test: { name: 'stories', include: ['test/stories/**/*.story.ts'] } },
      {
        extends: true,
        test: {
          name: 'guest',
          include: ['test/guest/**/*.guest.ts'],
          globalSetup: 'test/guest/setup.ts',
          // Every guest is a processor and 256 MiB.
          maxWorkers: 2,
          testTimeout: 900_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});

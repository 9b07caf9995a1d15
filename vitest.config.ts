import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^io-pagetable$/, replacement: source('index.ts') },
      { find: /^io-pagetable\/testing$/, replacement: source('testing/index.ts') },
      { find: /^io-pagetable\/replay$/, replacement: source('replay/index.ts') },
      { find: /^io-pagetable\/render$/, replacement: source('render/index.ts') },
      { find: /^io-pagetable\/uapi$/, replacement: source('uapi/index.ts') },
    ],
  },
  test: {
    testTimeout: 120_000,
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/browser/**'] } },
      { extends: true, test: { name: 'browser', include: ['test/browser/**/*.test.ts'] } },
      { extends: true, test: { name: 'stories', include: ['test/stories/**/*.story.ts'] } },
    ],
  },
});

// Importing the package does nothing that could be noticed: run by Node itself, on the packed package.
import { deepStrictEqual } from 'node:assert';

const shared = [
  globalThis,
  Object,
  Object.prototype,
  Array.prototype,
  Promise.prototype,
  BigInt.prototype,
  Uint8Array.prototype,
];
const look = () => ({
  keys: shared.map((object) => Reflect.ownKeys(object).map(String)),
  listeners: process.eventNames().map(String),
  resources: process.getActiveResourcesInfo(),
  environment: { ...process.env },
  exitCode: process.exitCode,
});
const before = look();
const modules = [
  'io-pagetable',
  ...['testing', 'replay', 'render', 'uapi'].map((name) => `io-pagetable/${name}`),
];
for (const module of modules) await import(module);
deepStrictEqual(look(), before);

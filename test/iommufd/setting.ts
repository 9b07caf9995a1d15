/** What the tests of the iommufd layer share. */
import { expect } from 'vitest';
import { type ErrorCode, IommuError } from '../../src/errors.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import { Iommufd, type IommufdOptions } from '../../src/iommufd/iommufd.js';
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { createMemory } from '../../src/testing/create-memory.js';
import { MockDevice } from '../../src/testing/mock-device.js';
import { TestDriver } from '../../src/testing/test-driver.js';

/** Start of the memory of a test process, at which 2 MiB are writable; the next 64 KiB are read-only. */
export const RAM = 0x1_0000_0000n;
export const RAM_LENGTH = 0x20_0000n;
export const ROM = RAM + RAM_LENGTH;
export const ROM_LENGTH = 0x1_0000n;
/** First IOVA of the mock domain's aperture. */
export const APERTURE = 0x100_0000n;
export const MAX = 0xffff_ffff_ffff_ffffn;
export const PAGE = 0x1000n;

export interface Setting {
  readonly memory: ProcessMemory;
  readonly iommufd: Iommufd;
  readonly driver: TestDriver;
}

/** A process with memory, an iommufd and the test driver. */
export function open(lockedPages?: number, options: Omit<IommufdOptions, 'memory'> = {}): Setting {
  const memory = createMemory(
    [
      { uptr: RAM, length: RAM_LENGTH, writable: true },
      { uptr: ROM, length: ROM_LENGTH, writable: false },
    ],
    { lockedPages },
  );
  const iommufd = new Iommufd({ memory, ...options });
  return { memory, iommufd, driver: new TestDriver(iommufd, { memory }) };
}

/** Ends a test: after `close` nothing may be pinned or charged. */
export async function closeClean({ iommufd, memory }: Setting): Promise<void> {
  iommufd.check();
  await iommufd.close();
  expect(memory.physical.pinned).toBe(0);
  expect(memory.locked?.user.lockedPages ?? 0).toBe(0);
  expect(memory.locked?.mm.lockedPages ?? 0).toBe(0);
}

/** The error that a call fails with. */
export async function failure(call: Promise<unknown>): Promise<IommuError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof IommuError) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

/** The errno that a call fails with, or `'OK'`. */
export async function outcome(call: Promise<unknown>): Promise<ErrorCode | 'OK'> {
  try {
    await call;
    return 'OK';
  } catch (error) {
    if (error instanceof IommuError) return error.code;
    throw error;
  }
}

/** Binds a mock device of the context's kernel. */
export function bindMock(iommufd: Iommufd, flags = 0): Promise<BoundDevice> {
  return iommufd.deviceBind(new MockDevice({ flags, profile: iommufd.profile }));
}

/** The same memory, whose pins wait until `ready`. */
export function slowly(memory: ProcessMemory, ready: Promise<unknown>): UserMemory {
  return Object.assign(new ForwardingMemory(memory), {
    pin: async (page: number, count: number, write: boolean, into: FrameRuns) => {
      await ready;
      return memory.pin(page, count, write, into);
    },
  });
}

/** A promise and what resolves it. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

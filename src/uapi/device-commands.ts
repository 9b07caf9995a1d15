/** Commands that somebody else brings to a device. */
import type { Iommufd } from '../iommufd/iommufd.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Release } from '../rules.js';
import type { Route } from './route.js';

/**
 * Commands that a device has beside its own, and the files that they open: `testCommands()` of `io-pagetable/testing`
 * makes those of the kernel's test driver. They share one request number.
 */
export interface DeviceCommands {
  /** The request number of ioctl(2). */
  readonly request: number;
  /**
   * Connects them with a device that is being opened.
   *
   * @internal
   */
  connect(device: OpenedDevice): ConnectedCommands;
}

/** What commands know of the device that they are connected with. */
export interface OpenedDevice {
  readonly iommufd: Iommufd;
  /** The release whose commands it has. */
  readonly release: Release;
  /** The memory of the process that opened it. */
  readonly memory: UserMemory;
  /** Notes that a file of the device was opened; it keeps the device alive. */
  readonly fileOpened: () => void;
  /** Notes that one was closed. */
  readonly fileClosed: () => Promise<void>;
}

/** Commands of one device. */
export interface ConnectedCommands {
  /** At least one; their structs have the same lengths, and at byte 4 the number that tells them apart. */
  readonly routes: readonly Route[];
  /** The files that they opened, on this device or on another one of the machine. */
  readonly files: DeviceFiles;
}

/** Files by number. */
export interface DeviceFiles {
  /** Whether a number is open. */
  has(file: number): boolean;
  /** Closes the file with a number. */
  close(file: number): Promise<void>;
}

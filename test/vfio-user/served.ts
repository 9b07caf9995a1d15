/** Devices that are served for a test, at a socket of their own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { PciDevice } from '../../src/vfio-user/pci-device.js';
import { type DeviceServer, type ServeOptions, serve } from '../../src/vfio-user/server.js';
import { RawClient } from './raw-client.js';

/** A path for a socket, in a folder that is removed after the test. */
export function socketPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vfio-user-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'device.sock');
}

/** Serves a device, without descriptors unless told otherwise, until the test ends. */
export async function served(device: PciDevice, options: Partial<ServeOptions> = {}): Promise<DeviceServer> {
  const server = await serve(device, { socket: socketPath(), descriptors: 'never', ...options });
  onTestFinished(() => server.close());
  return server;
}

/** Serves a device, and connects a client to it. */
export async function plugged(
  device: PciDevice,
  options: Partial<ServeOptions> = {},
): Promise<{ readonly server: DeviceServer; readonly client: RawClient }> {
  const server = await served(device, options);
  const client = await RawClient.open(server.socket);
  onTestFinished(() => client.close());
  return { server, client };
}

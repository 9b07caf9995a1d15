/** The test driver's commands, for devices of `io-pagetable/uapi`. */
import { checkObject, invalidType } from '../arguments.js';
import type { DeviceCommands } from '../uapi/device-commands.js';
import { routesOf } from '../uapi/route.js';
import { TEST_COMMANDS, TEST_REQUEST } from '../uapi/test-commands.js';
import { AccessFiles } from './access-files.js';
import { filesOfMachine } from './machine-files.js';
import { TestDriver } from './test-driver.js';
import { testHandlers } from './test-handlers.js';

/**
 * The commands of the kernel's test driver, for a device that is opened:
 * `new IommufdDevice({ memory, commands: testCommands() })`.
 *
 * @param options - `files`: who numbers access files; absent: one numbering, from 2^20 on, for all devices on the
 * machine of the memory that a device is opened with
 */
export function testCommands(options: { readonly files?: AccessFiles | undefined } = {}): DeviceCommands {
  checkObject(options, 'options');
  const { files: given } = options;
  if (given !== undefined && !(given instanceof AccessFiles)) {
    throw invalidType(given, 'options.files', 'AccessFiles');
  }
  return {
    request: TEST_REQUEST,
    connect({ iommufd, release, memory, fileOpened, fileClosed }) {
      const files = given ?? filesOfMachine(memory);
      const driver = new TestDriver(iommufd, { memory, files });
      const target = { iommufd, driver, fileOpened, fileClosed };
      return { routes: routesOf(TEST_COMMANDS, testHandlers, target, release), files };
    },
  };
}

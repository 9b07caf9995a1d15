/** What the test driver's commands work on. */
import type { Target } from '../uapi/handlers.js';
import type { AfterClose } from './access-files.js';
import type { TestDriver } from './test-driver.js';

/** What test commands are performed on. */
export interface TestTarget extends Target {
  readonly driver: TestDriver;
  /** Notes that an access file of the device was opened. */
  readonly fileOpened: () => void;
  /** Notes that one was closed. */
  readonly fileClosed: AfterClose;
}

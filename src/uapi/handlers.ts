/** What the handlers of commands have in common. */
import type { Iommufd } from '../iommufd/iommufd.js';
import type { AfterClose } from '../testing/access-files.js';
import type { TestDriver } from '../testing/test-driver.js';
import type { Call } from './call.js';
import type { CommandName } from './commands.js';

/** The device that a command came to. */
export interface Target {
  readonly iommufd: Iommufd;
  readonly driver: TestDriver;
  /** Notes that an access file of the device was opened; it keeps the device alive. */
  readonly fileOpened: () => void;
  /** Notes that one was closed. */
  readonly fileClosed: AfterClose;
}

/** Performs a command. What it throws is the answer; else the answer is 0. */
export type Handler<N extends CommandName> = (call: Call<N>, target: Target) => Promise<void>;

/** Handlers of the commands in a table, by name. */
export type Handlers<N extends CommandName> = { readonly [Name in N]: Handler<Name> };

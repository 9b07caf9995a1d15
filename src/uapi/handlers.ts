/** Tables of handlers, which say what the commands of a table do. */
import type { Iommufd } from '../iommufd/iommufd.js';
import type { Call } from './call.js';
import type { Command } from './command-row.js';
import type { Fields } from './struct.js';

/** What commands are performed on. */
export interface Target {
  readonly iommufd: Iommufd;
}

/** Performs a command whose struct has the fields `F`. What it throws is the answer; else the answer is 0. */
export type Handler<F extends Fields, T extends Target = Target> = (
  call: Call<F>,
  target: T,
) => Promise<void>;

/** Handlers of all commands in a table, by name. */
export type Handlers<Table extends Readonly<Record<string, Command>>, T extends Target = Target> = {
  readonly [Name in keyof Table]: Handler<Table[Name]['struct']['fields'], T>;
};

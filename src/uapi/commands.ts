/** All commands that take a struct, in one table. */
import { IOMMUFD_COMMANDS } from './iommufd-commands.js';
import type { Decoded, Encodable } from './struct.js';
import { TEST_COMMANDS } from './test-commands.js';
import { VFIO_COMMANDS } from './vfio-commands.js';

/** All commands that take a struct, by name. */
export const COMMANDS = Object.freeze({ ...IOMMUFD_COMMANDS, ...TEST_COMMANDS, ...VFIO_COMMANDS });

/** Name of a command that takes a struct. */
export type CommandName = keyof typeof COMMANDS;
/** The rows of a command's table. */
export type FieldsOf<N extends CommandName> = (typeof COMMANDS)[N]['struct']['fields'];

/** What the struct of a command says. */
export type CommandFields<N extends CommandName> = Decoded<FieldsOf<N>>;

/** What is needed to fill the struct of a command. */
export type CommandInput<N extends CommandName> = Encodable<FieldsOf<N>>;

/** Which devices share the numbers of access files. */
import { ProcessMemory } from '../memory/process-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { AccessFiles } from './access-files.js';

/**
 * Where numbers begin: above the descriptors that a process can have, so that a shim can hand them to its program as
 * they are.
 */
const FIRST_FILE = 2 ** 20;

const files = new WeakMap<object, AccessFiles>();
/** Stands for the machine of all memory that the host brings itself. */
const HOST = {};

/**
 * The access files of the machine that a process runs on: an operation on a file may come through any device that a
 * process of the machine has open.
 */
export function filesOfMachine(memory: UserMemory): AccessFiles {
  const machine = memory instanceof ProcessMemory ? memory.physical : HOST;
  let open = files.get(machine);
  if (open === undefined) {
    open = new AccessFiles(FIRST_FILE);
    files.set(machine, open);
  }
  return open;
}

/** Memory of a process, any function of which a test can replace. */
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';

type Replaceable = Pick<
  UserMemory,
  'pin' | 'unpin' | 'frames' | 'copyFromFrames' | 'copyToFrames' | 'copyFromUser' | 'copyToUser' | 'resident'
>;

/** Functions of `memory`, but for those in `odd`. */
export function oddMemory(memory: ProcessMemory, odd: Partial<Replaceable>): UserMemory {
  return Object.assign(new ForwardingMemory(memory), odd);
}

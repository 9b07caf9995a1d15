/** Memory of a process, any function of which a test can replace. */
import type { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';

type Replaceable = Pick<UserMemory, 'pin' | 'unpin' | 'frames' | 'copyFromUser' | 'copyToUser' | 'resident'>;

/** Functions of `memory`, but for those in `odd`. */
export function oddMemory(memory: ProcessMemory, odd: Partial<Replaceable>): UserMemory {
  return {
    pin: (...request) => memory.pin(...request),
    unpin: (pfn, count) => memory.unpin(pfn, count),
    frames: (pfn, count) => memory.frames(pfn, count),
    copyFromUser: (...request) => memory.copyFromUser(...request),
    copyToUser: (...request) => memory.copyToUser(...request),
    get locked() {
      return memory.locked;
    },
    get exited() {
      return memory.exited;
    },
    ...odd,
  };
}

/** Who makes a call: whose memory it is about, and what that process may do. */
import { checkCallback, checkObject } from '../arguments.js';
import { checkMemory, type UserMemory } from '../memory/user-memory.js';

/** A capability that a call may need. */
export type Capability =
  /** Change the accounting mode of a context. */
  | 'CAP_SYS_RESOURCE'
  /** Pin memory without being charged for it. */
  | 'CAP_IPC_LOCK'
  /** Use devices that no IOMMU stands before, and learn physical addresses. */
  | 'CAP_SYS_RAWIO';

/** The process that makes a call, where it is not the one the context was made for. */
export interface Caller {
  /** Its memory; user addresses of the call are addresses in it. */
  readonly memory?: UserMemory | undefined;
  /** Whether it has a capability. Without it, a process has all of them exactly if its memory has no locked-memory counters. */
  readonly capable?: ((capability: Capability) => boolean) | undefined;
}

/** Reads who makes a call, once. @throws TypeError if `caller`, an argument or its options, is not as `Caller` says. */
export function readCaller(caller: Caller, name: string): Caller {
  checkObject(caller, name);
  const { memory, capable } = caller;
  checkCallback(capable, `${name}.capable`);
  if (memory !== undefined) checkMemory(memory, `${name}.memory`);
  return { memory, capable };
}

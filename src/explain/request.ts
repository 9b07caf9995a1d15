/**
 * What `IoPagetable.explain` is asked, and reading it.
 */
import { checkBoolean, checkObject, checkWord, invalidType, readProtection, readU64 } from '../arguments.js';
import { checkDomain, type IommuDomain } from '../domain/iommu-domain.js';
import { ACCOUNTING_MODES, type AccountingMode } from '../memory/locked-memory.js';
import { checkMemory, type UserMemory } from '../memory/user-memory.js';
import type { Protection } from '../protection.js';
import { IovaSpace } from '../table/iova-space.js';
import type { TableState } from '../table/table-state.js';
import { join, type U64Input } from '../u64.js';
import type { Subject } from './calls.js';
import type { PlannedCall } from './explanation.js';

/** A call to be explained; `call` is the method of `IoPagetable`, the rest are its arguments. */
export type ExplainRequest =
  /** `map` */
  | {
      readonly call: 'map';
      readonly iova?: U64Input | undefined;
      readonly uptr: U64Input;
      readonly length: U64Input;
      readonly prot: Protection;
      readonly memory?: UserMemory | undefined;
      readonly accounting?: AccountingMode | undefined;
    }
  /** `copy` */
  | {
      readonly call: 'copy';
      readonly from: IovaSpace;
      readonly srcIova: U64Input;
      readonly iova?: U64Input | undefined;
      readonly length: U64Input;
      readonly prot: Protection;
    }
  /** `unmap` */
  | { readonly call: 'unmap'; readonly iova: U64Input; readonly length: U64Input }
  /** `access` */
  | {
      readonly call: 'access';
      readonly iova: U64Input;
      readonly length: U64Input;
      readonly write?: boolean | undefined;
    }
  /** `addDomain` */
  | { readonly call: 'addDomain'; readonly domain: IommuDomain };

/** The table asked, with what its calls take where they say nothing. */
export interface AskedTable {
  readonly table: TableState;
  readonly memory: UserMemory | undefined;
  readonly accounting: AccountingMode;
}

/**
 * Reads a request.
 *
 * @throws TypeError or RangeError where the call itself would throw it.
 */
export function readRequest(
  request: ExplainRequest,
  asked: AskedTable,
): { readonly subject: Subject; readonly call: PlannedCall } {
  checkObject(request, 'request');
  const { call } = request;
  switch (call) {
    case 'map': {
      const { memory = asked.memory, accounting = asked.accounting, prot } = request;
      if (memory === undefined) {
        throw invalidType(memory, 'request.memory', 'a UserMemory: the table has none');
      }
      checkMemory(memory, 'request.memory');
      checkWord(accounting, 'request.accounting', ACCOUNTING_MODES);
      const place = readPlace(request.iova);
      const uptr = readBigint(request.uptr, 'request.uptr');
      const length = readBigint(request.length, 'request.length');
      readProtection(prot, 'request.prot');
      return {
        subject: { ...asked, memory, accounting },
        call: { call: 'map', ...place, uptr, length, prot },
      };
    }
    case 'copy': {
      const { from, prot } = request;
      if (!(from instanceof IovaSpace)) throw invalidType(from, 'request.from', 'an IoPagetable');
      const srcIova = readBigint(request.srcIova, 'request.srcIova');
      const place = readPlace(request.iova);
      const length = readBigint(request.length, 'request.length');
      readProtection(prot, 'request.prot');
      return {
        subject: { ...asked, from: from.state },
        call: { call: 'copy', srcIova, ...place, length, prot },
      };
    }
    case 'unmap': {
      const iova = readBigint(request.iova, 'request.iova');
      return {
        subject: asked,
        call: { call: 'unmap', iova, length: readBigint(request.length, 'request.length') },
      };
    }
    case 'access': {
      const { write = false } = request;
      const iova = readBigint(request.iova, 'request.iova');
      const length = readBigint(request.length, 'request.length');
      checkBoolean(write, 'request.write');
      return { subject: asked, call: { call: 'access', iova, length, write } };
    }
    case 'addDomain': {
      const { domain } = request;
      const geometry = checkDomain(domain, 'request.domain');
      return { subject: { ...asked, adding: { domain, geometry } }, call: { call: 'addDomain' } };
    }
    default:
      throw invalidType(
        (request as { readonly call?: unknown }).call,
        'request.call',
        `one of 'map', 'copy', 'unmap', 'access' and 'addDomain'`,
      );
  }
}

function readPlace(iova: U64Input | undefined): { readonly iova?: bigint } {
  return iova === undefined ? {} : { iova: readBigint(iova, 'request.iova') };
}

function readBigint(value: U64Input, name: string): bigint {
  const { page, offset } = readU64(value, name);
  return join(page, offset);
}

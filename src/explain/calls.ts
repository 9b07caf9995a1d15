/**
 * Running planned calls in a dry run.
 */
import { pinForUse } from '../access/pinned-range.js';
import { checkedInterval } from '../arguments.js';
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { AccountingMode } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Operation } from '../operation.js';
import { protectionBits } from '../protection.js';
import { copyingOf, copyPages } from '../table/copy.js';
import { cutAreas } from '../table/cut.js';
import { addDomain } from '../table/domains.js';
import { mappingOf } from '../table/map.js';
import { mapPages } from '../table/map-pages.js';
import { allowedTree, replaceAllowed } from '../table/reservations.js';
import type { TableState } from '../table/table-state.js';
import { unmappingOf, unmapRange } from '../table/unmap.js';
import { between, type Interval, intervalOf, isZero, PAGE_SIZE, split, WHOLE_SPACE } from '../u64.js';
import type { DryRun } from './dry-run.js';
import type { AlternativeStep } from './explanation.js';

/** What planned calls are about, besides what they say. */
export interface Subject {
  readonly table: TableState;
  /** The memory that `map` maps. */
  readonly memory?: UserMemory | undefined;
  /** Whom `map` charges. */
  readonly accounting: AccountingMode;
  /** The table that `copy` copies from. */
  readonly from?: TableState | undefined;
  /** The domain that `addDomain` adds. */
  readonly domain?: IommuDomain | undefined;
}

/** What a call gave. */
export interface CallResult {
  readonly iova?: bigint;
  readonly unmapped?: bigint;
}

/**
 * Runs one step in a dry run.
 *
 * @throws what the call itself would throw
 */
export function* runStep(dry: DryRun, subject: Subject, step: AlternativeStep): Operation<CallResult> {
  const { table } = subject;
  switch (step.call) {
    case 'map': {
      const { iova, length } = step;
      const state = dry.space(table, windowOf(iova, length)).state;
      const mapping = mappingOf(state, {
        memory: dry.memory(subject.memory!),
        accounting: subject.accounting,
        file: undefined,
        from: split(step.uptr),
        length: split(length),
        iova: iova === undefined ? undefined : split(iova),
        prot: protectionBits(step.prot)!,
      });
      return { iova: yield* mapPages(mapping) };
    }
    case 'copy': {
      const { srcIova, iova, length } = step;
      const from = dry.space(subject.from!, windowOf(srcIova, length)).state;
      const state = dry.space(table, windowOf(iova, length)).state;
      const copying = copyingOf(state, {
        from,
        srcIova: split(srcIova),
        length: split(length),
        iova: iova === undefined ? undefined : split(iova),
        prot: protectionBits(step.prot)!,
      });
      return { iova: yield* copyPages(copying) };
    }
    case 'unmap': {
      const range = checkedInterval(split(step.iova), split(step.length));
      const { state } = dry.space(table, range);
      const exactly = table.rules.unmapTakes === 'one-area';
      return { unmapped: yield* unmapRange(unmappingOf(state, range, exactly)) };
    }
    case 'access': {
      const range = checkedInterval(split(step.iova), split(step.length));
      // An access that raises the alignment looks at all areas.
      const space = dry.space(table, table.alignment < PAGE_SIZE ? WHOLE_SPACE : range);
      yield* pinForUse(space, range, { write: step.write });
      return {};
    }
    case 'addDomain':
      yield* addDomain(dry.space(table, WHOLE_SPACE).state, dry.domain(subject.domain!));
      return {};
    case 'cutIova':
      for (const address of step.addresses) {
        const at = split(address);
        yield* cutAreas(dry.space(table, between(at, at)).state, [at]);
      }
      return {};
    case 'setAllowedIova': {
      const { state } = dry.space(table, WHOLE_SPACE);
      replaceAllowed(
        state,
        allowedTree(step.ranges.map(({ start, last }) => between(split(start), split(last)))),
      );
      return {};
    }
    case 'raise-locked-limit':
      dry.raiseLimit(step.of, split(step.limitBytes).page);
      return {};
    case 'provide-memory': {
      const { page, lastPage } = checkedInterval(split(step.uptr), split(step.length));
      dry.provided.push({ page, lastPage, writable: step.writable });
      return {};
    }
  }
}

/** What a call with a wrong range looks at: next to nothing. */
const FIRST_BYTE: Interval = { page: 0, offset: 0, lastPage: 0, lastOffset: 0 };

/** The IOVA that a call can look at: its range, or everything if it is to choose one. */
function windowOf(iova: bigint | undefined, length: bigint): Interval {
  return iova === undefined ? WHOLE_SPACE : (rangeOf(iova, length) ?? FIRST_BYTE);
}

/** The range of a call, if it is one. */
export function rangeOf(iova: bigint, length: bigint): Interval | undefined {
  const bytes = split(length);
  return isZero(bytes) ? undefined : intervalOf(split(iova), bytes);
}

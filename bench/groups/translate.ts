/**
 * Translating addresses: the page table of a `RadixDomain` against trees of ranges.
 */
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import {
  type Mapping,
  NodeTreeTranslator,
  PlainTreeTranslator,
  SortedTreeTranslator,
  type Translator,
} from '../peers/translators.js';
import { OURS } from '../results.js';
import type { RowName } from '../rows.js';
import { RadixDomain } from '../scene/core.js';
import { randomNumbers, shuffled } from '../scene/random.js';
import { BASE, PAGE } from '../scene/space.js';

const SIZES = [1000, 10_000, 100_000, 1_000_000];
const QUICK_SIZES = [1000, 100_000, 1_000_000];
/** Peers are left out beyond. */
const LARGEST_PEER = 100_000;
const HUGE = 2 ** 21;
/** Frames begin at 4 GiB, as in `ProcessMemory`. */
const FIRST_PHYSICAL = 2 ** 32;
/** Few enough that most rounds end before a collection. */
const HEAP_CALLS = 100_000;
const HEAP_ROUNDS = 9;
const WARM_ROUNDS = 30;
const READ = 1;

/** Consecutive pages, as an IOVA allocator packs them, with frames in random order. */
function mappingsOf(pages: number, pageSize: number): Mapping[] {
  const frames = shuffled(pages, randomNumbers());
  return Array.from(frames, (frame, at) => {
    const low = BASE + at * pageSize;
    return { low, high: low + pageSize - 1, physical: FIRST_PHYSICAL + frame * pageSize };
  });
}

function domainOf(mappings: readonly Mapping[], pageSize: number): RadixDomain {
  const domain = new RadixDomain();
  for (const { low, physical } of mappings) domain.map(low, physical, pageSize, READ);
  return domain;
}

/** As many addresses as there are 4 KiB pages, all over the mappings, in random order. */
function addressesIn(mappings: readonly Mapping[], pageSize: number, pages: number): Float64Array {
  const random = randomNumbers();
  const order = shuffled(pages, random);
  return Float64Array.from(order, (page) => {
    const { low } = mappings[Math.floor((page * PAGE) / pageSize)]!;
    return low + ((page * PAGE) % pageSize) + Math.floor(random() * PAGE);
  });
}

function withNumbers(row: RowName, domain: RadixDomain, addresses: Float64Array): Subject {
  const size = addresses.length;
  let at = 0;
  return {
    row,
    subject: 'io-pagetable (number)',
    size,
    run(count) {
      let found = 0;
      for (let call = 0; call < count; call++) {
        if (domain.iovaToPhys(addresses[at]!) !== undefined) found++;
        if (++at === size) at = 0;
      }
      expectAll(found, count);
    },
  };
}

function withBigints(row: RowName, domain: RadixDomain, addresses: Float64Array): Subject {
  const size = addresses.length;
  const iovas = Array.from(addresses, BigInt);
  let at = 0;
  return {
    row,
    subject: OURS,
    size,
    run(count) {
      let found = 0;
      for (let call = 0; call < count; call++) {
        if (domain.iovaToPhys(iovas[at]!) !== undefined) found++;
        if (++at === size) at = 0;
      }
      expectAll(found, count);
    },
  };
}

function withPeer(peer: Translator, mappings: readonly Mapping[], addresses: Float64Array): Subject {
  const size = addresses.length;
  for (const at of shuffled(size, randomNumbers())) peer.insert(mappings[at]!);
  let at = 0;
  return {
    row: 'translate',
    subject: peer.name,
    size,
    run(count) {
      let found = 0;
      for (let call = 0; call < count; call++) {
        if (peer.translate(addresses[at]!) !== undefined) found++;
        if (++at === size) at = 0;
      }
      expectAll(found, count);
    },
  };
}

function expectAll(found: number, count: number): void {
  if (found !== count) throw new Error(`${count - found} of ${count} addresses were not translated`);
}

/** Bytes of heap that a translation leaves behind, for a collection to find. */
async function measureHeap(
  run: GroupRun,
  { subject, size, run: translate }: Subject,
  note = '',
): Promise<void> {
  const rounds: number[] = [];
  for (let round = -WARM_ROUNDS; round < HEAP_ROUNDS; round++) {
    const before = process.memoryUsage().heapUsed;
    await translate(HEAP_CALLS);
    const taken = process.memoryUsage().heapUsed - before;
    if (round >= 0) rounds.push(taken / HEAP_CALLS);
  }
  run.record('translateHeap', size, rounds, subject + note);
}

/** The rows of the group. */
export async function translateGroup(run: GroupRun): Promise<void> {
  const subjects: Subject[] = [];
  const numbers: Subject[] = [];
  for (const pages of run.sizes(SIZES, QUICK_SIZES)) {
    const mappings = mappingsOf(pages, PAGE);
    const addresses = addressesIn(mappings, PAGE, pages);
    const domain = domainOf(mappings, PAGE);
    const number = withNumbers('translate', domain, addresses);
    numbers.push(number);
    subjects.push(withBigints('translate', domain, addresses), number);
    if (pages <= LARGEST_PEER) {
      const peers = [new PlainTreeTranslator(), new NodeTreeTranslator(), new SortedTreeTranslator()];
      for (const peer of peers) subjects.push(withPeer(peer, mappings, addresses));
    }
    const huge = mappingsOf(Math.ceil((pages * PAGE) / HUGE), HUGE);
    const hugeAddresses = addressesIn(huge, HUGE, pages);
    const hugeDomain = domainOf(huge, HUGE);
    subjects.push(withBigints('translateHuge', hugeDomain, hugeAddresses));
    subjects.push(withNumbers('translateHuge', hugeDomain, hugeAddresses));
  }
  for (const subject of numbers) await measureHeap(run, subject);
  await run.measure(subjects);
  for (const subject of numbers) await measureHeap(run, subject, ' where bigints are used too');
}

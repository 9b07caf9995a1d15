/** Which IOVA space an operation of a trace is about, and what it may have changed there. */
import type { IoPagetable } from '../../../io-pagetable.js';
import { type Interval, MAX_U64, WHOLE_SPACE } from '../../../u64.js';
import { changedBy, type NamedSpace } from '../../replay-space.js';
import type { TraceLine } from './trace-line.js';
import type { Answer } from './trace-target.js';

/** Fields by name. */
type Fields = Readonly<Record<string, unknown>>;

/** Operations that change what a space has besides its areas. */
const SETTING: ReadonlySet<string> = new Set([
  'access_create',
  'access_destroy',
  'access_replace_ioas',
  'allow_iovas',
  'domain_add',
  'domain_remove',
  'huge_pages_set',
  'noiommu_attach',
  'noiommu_detach',
  'queue_add',
  'queue_remove',
  'reserve',
  'vfio_set_iommu',
]);

/** The spaces of a trace, by its names for them and for what belongs to them. */
export class TraceSpaces {
  readonly #table: (ioas: string) => IoPagetable | undefined;
  /** What there is now, by the name of the space. */
  readonly #spaces = new Map<string, NamedSpace>();
  /** Names of the spaces that page tables, accesses and VFIO's calls are on. */
  readonly #domains = new Map<string, string>();
  readonly #accesses = new Map<string, string>();
  #compatible: string | undefined;

  /** @param table - the table of a space, by its name in the trace */
  constructor(table: (ioas: string) => IoPagetable | undefined) {
    this.#table = table;
  }

  /** All spaces that there are now. */
  [Symbol.iterator](): Iterator<NamedSpace> {
    return this.#spaces.values();
  }

  /** The space of a name. */
  named(ioas: unknown): NamedSpace | undefined {
    return typeof ioas === 'string' ? this.#spaces.get(ioas) : undefined;
  }

  /** The space that an operation is about, as things stand. */
  about(operation: string, { ioas, dst, domain, access }: Fields): NamedSpace | undefined {
    if (operation.startsWith('vfio_') && ioas === undefined) return this.named(this.#compatible);
    return this.named(ioas ?? dst ?? this.#domains.get(`${domain}`) ?? this.#accesses.get(`${access}`));
  }

  /** Takes note of an operation that succeeded. */
  note(operation: string, { ioas, domain, access }: Fields): void {
    if (operation === 'ioas_destroy') this.#forget(`${ioas}`);
    else if (operation === 'domain_add') this.#domains.set(`${domain}`, `${ioas}`);
    else if (operation === 'domain_remove') this.#domains.delete(`${domain}`);
    else if (operation === 'access_destroy') this.#accesses.delete(`${access}`);
    else if (operation === 'vfio_ioas_clear') this.#compatible = undefined;
    else if (operation === 'vfio_ioas_set') this.#compatible = `${ioas}`;
    else if (operation === 'access_create' || operation === 'access_replace_ioas') {
      this.#accesses.set(`${access}`, `${ioas}`);
    } else if (operation === 'ioas_alloc') {
      const table = this.#table(`${ioas}`);
      if (table !== undefined) this.#spaces.set(`${ioas}`, { name: `${ioas}`, table });
    }
  }

  #forget(ioas: string): void {
    this.#spaces.delete(ioas);
    if (this.#compatible === ioas) this.#compatible = undefined;
  }
}

/** Whether an operation changes what a space has besides its areas. */
export function changesSetting(operation: string): boolean {
  return SETTING.has(operation);
}

/** The IOVA in which areas came or went by an operation, if they could anywhere. */
export function changedIova({ operation, fields }: TraceLine, got: Answer): Interval | undefined {
  const { iova, length, all }: Fields = { ...fields };
  switch (operation) {
    case 'map':
    case 'map_file':
    case 'copy':
    case 'vfio_map':
      return got.errno === 'OK' ? range(got.iova ?? iova, length) : undefined;
    case 'ioas_destroy':
      return got.errno === 'OK' ? WHOLE_SPACE : undefined;
    case 'unmap':
      return range(iova, length);
    case 'vfio_unmap':
      return all === true ? WHOLE_SPACE : cutRange(iova, length);
    default:
      return undefined;
  }
}

function range(iova: unknown, length: unknown): Interval | undefined {
  if (typeof iova !== 'string' || typeof length !== 'string') return undefined;
  const [first, bytes] = [BigInt(iova), BigInt(length)];
  // That length from 0 on is "everything", also the last byte.
  return first === 0n && bytes === MAX_U64 ? WHOLE_SPACE : changedBy(first, bytes);
}

/** What an unmap of VFIO may change. Type 1 cuts the areas at both ends first, also if it then fails. */
function cutRange(iova: unknown, length: unknown): Interval | undefined {
  if (typeof iova !== 'string' || typeof length !== 'string') return undefined;
  const [first, bytes] = [BigInt(iova), BigInt(length)];
  const before = first === 0n ? 0n : first - 1n;
  return changedBy(before, first - before + bytes + 1n) ?? WHOLE_SPACE;
}

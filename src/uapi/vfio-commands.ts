/** The VFIO type 1 calls: request numbers and structs, as C programs have them. */
import { type Command, FIRST_RELEASE, unchanged } from './command-row.js';
import { type Field, type Fields, field, Struct } from './struct.js';

function vfioCall<const F extends Fields>(
  request: number,
  lengths: { readonly least: number; readonly known: number },
  fields: F,
): Command<{ readonly argsz: Field<'u32', 'size'> } & F> {
  const struct = new Struct(lengths.known, { argsz: field('u32', 0, 'size'), ...fields });
  return Object.freeze({ request, least: lengths.least, struct, since: FIRST_RELEASE });
}

/** The VFIO type 1 calls that take a struct, by name. */
export const VFIO_COMMANDS = Object.freeze({
  VFIO_IOMMU_GET_INFO: vfioCall(
    0x3b70,
    { least: 16, known: 24 },
    {
      flags: field('u32', 4, 'out'),
      iovaPgsizes: field('u64', 8, 'out'),
      capOffset: field('u32', 16, 'out'),
      pad: field('u32', 20, 'ignored'),
    },
  ),
  VFIO_IOMMU_MAP_DMA: vfioCall(0x3b71, unchanged(32), {
    flags: field('u32', 4, 'in'),
    vaddr: field('u64', 8, 'in'),
    iova: field('u64', 16, 'in'),
    size: field('u64', 24, 'in'),
  }),
  VFIO_IOMMU_UNMAP_DMA: vfioCall(0x3b72, unchanged(24), {
    flags: field('u32', 4, 'in?'),
    iova: field('u64', 8, 'in'),
    size: field('u64', 16, 'io'),
  }),
});

/** The VFIO type 1 calls whose argument is a plain value, or nothing. */
export const VFIO_REQUEST = Object.freeze({
  GET_API_VERSION: 0x3b64,
  CHECK_EXTENSION: 0x3b65,
  SET_IOMMU: 0x3b66,
} as const);

const CAPABILITY_HEAD = {
  id: field('u16', 0, 'out'),
  version: field('u16', 2, 'out'),
  /** Offset of the next capability from the start of the answer; 0 in the last. */
  next: field('u32', 4, 'out'),
} as const;

/** The head that all of VFIO's capabilities have. */
export const VFIO_CAPABILITY = new Struct(8, { ...CAPABILITY_HEAD });

/** VFIO's capability of available mappings. */
export const VFIO_CAPABILITY_DMA_AVAIL = new Struct(12, {
  ...CAPABILITY_HEAD,
  available: field('u32', 8, 'out'),
});

/** The head of VFIO's capability of usable IOVA; `IOVA_RANGE` entries follow. */
export const VFIO_CAPABILITY_IOVA_RANGES = new Struct(16, {
  ...CAPABILITY_HEAD,
  count: field('u32', 8, 'out'),
  reserved: field('u32', 12, 'ignored'),
});

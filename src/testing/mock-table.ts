/** The page table of a mock domain, of which kernels have different ones. */

/** What is mapped at an address of a mock domain. */
export interface MockEntry {
  /** The first IOVA of the entry. */
  readonly iova: bigint;
  /** Bytes of the entry. */
  readonly size: bigint;
  /** The physical address behind its first IOVA. */
  readonly physical: bigint;
  /** Whether a device wrote to it since its mark was cleared. */
  readonly dirty: boolean;
}

/** One call of the mock domain's driver: `count` pages of `pageSize` bytes. */
export interface MockMapCall {
  readonly iova: bigint;
  readonly physical: bigint;
  readonly pageSize: bigint;
  readonly count: bigint;
}

/** A request to map. */
export interface MockMapRequest {
  readonly iova: bigint;
  readonly physical: bigint;
  /** Bytes, at least one page. */
  readonly size: bigint;
}

/** What happens around a page table. */
export interface MockTableEvents {
  /** Called before each call of the driver, which fails with what it throws. */
  readonly onCall: (call: MockMapCall) => void;
  /** Called where the kernel warns. What it throws fails the call, which has changed nothing then. */
  readonly onWarning: (what: string) => void;
}

/** A page table. What it is given are multiples of its smallest page, but for addresses that are looked up. */
export interface MockTable {
  /** Bit mask of its page sizes in bytes. */
  readonly pageSizeBitmap: bigint;

  /** Bytes that are mapped. */
  readonly mappedBytes: bigint;

  /**
   * Maps all or nothing.
   *
   * @throws EINVAL if the range or the physical addresses reach too high, ENOMEM if it is too much, what the events throw.
   */
  map(request: MockMapRequest): void;

  /** Removes what is mapped in a range of at least one page. */
  unmap(iova: bigint, size: bigint): void;

  /** Removes everything. */
  clear(): void;

  /** The physical address behind an IOVA. */
  physicalAt(iova: bigint): bigint | undefined;

  /** The entry that an IOVA is in. */
  entry(iova: bigint): MockEntry | undefined;

  /** Marks the entries that a range of at least one byte touches as dirty. */
  mark(iova: bigint, size: bigint): void;

  /** Marks the entry that DIRTY means by an address and a page size; `false` if there is none. */
  markPage(iova: bigint, pageSize: bigint): boolean;

  /** As `DirtyOperations.readAndClear`. */
  readAndClear(
    iova: bigint,
    size: bigint,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void;
}

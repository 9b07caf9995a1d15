/** The driver side of virtual IOMMUs: the parts of an IOMMU that a guest is given. */

/** What makes virtual IOMMUs of one type, for a device whose IOMMU has them. */
export interface ViommuDriver {
  /** The type that programs ask for; not 0. */
  readonly type: number;
  /** How many bytes of data a program can give with the call. Absent: they are not looked at. */
  readonly data?: { readonly least: number; readonly most: number };

  /**
   * Makes a virtual IOMMU.
   *
   * @throws the driver's own error, best an `IommuError`; the call fails with it.
   */
  create(request: ViommuRequest): VirtualIommu | PromiseLike<VirtualIommu>;
}

/** How a virtual IOMMU is wanted. */
export interface ViommuRequest {
  /**
   * What the program gave, as many bytes as there can be at most; absent if it gave nothing. What the driver writes
   * into it goes back to the program.
   */
  readonly data: Uint8Array | undefined;
  /**
   * Lets programs map memory of the driver's, by mmap of the device, for as long as the virtual IOMMU lives.
   *
   * @param bytes - whole pages of 4096 bytes
   * @returns the offset to be mapped at; the program has to learn it from `data`
   */
  addWindow(bytes: Uint8Array): bigint;
}

/** A virtual IOMMU, as its driver sees it. */
export interface VirtualIommu {
  /** The type of hardware queues that it has; not 0. Absent: it has none. */
  readonly queueType?: number;

  /**
   * Takes a queue, whose memory is pinned and physically consecutive.
   *
   * @returns a queue that has to live as long as this one, if there is one
   * @throws what refuses the queue; best EINVAL for an index that there is not, EEXIST for one that is taken.
   */
  addQueue?(queue: HardwareQueue): HardwareQueue | undefined;

  /** The end of a queue. Its memory is unpinned afterwards. */
  removeQueue?(queue: HardwareQueue): void;

  /** The end of the virtual IOMMU. It has no queues any more. */
  free?(): void;
}

/** Memory of a guest's that the hardware of a virtual IOMMU works on by itself. */
export interface HardwareQueue {
  /** Which of the queues. */
  readonly index: number;
  /** Its first byte in the address space of the guest. */
  readonly iova: bigint;
  /** Number of bytes. */
  readonly length: bigint;
  /** Physical address of the first byte. */
  readonly physical: bigint;
}

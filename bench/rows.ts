/**
 * What is measured: every row of the report, by the name under which its figures are found.
 */

/** A row of the report. */
export interface RowInfo {
  readonly title: string;
  /** What a figure is; less is better in all of them. */
  readonly unit: 'ns' | 'bytes' | 'calls';
  /** What the sizes count: the columns of the row's table. */
  readonly sizes: 'areas' | 'pages' | 'bytes' | 'calls' | 'requests';
  /** Whether its growth with the size is fitted; `'each'`: the figure is for each of the n things that it touches. */
  readonly grows?: true | 'each';
}

/** All rows, in no order. */
export const ROWS = {
  translate: {
    title: 'Translate a random address, 4 KiB pages',
    unit: 'ns',
    sizes: 'pages',
    grows: true,
  },
  translateHuge: {
    title: 'Translate a random address, mapped in 2 MiB pages',
    unit: 'ns',
    sizes: 'pages',
    grows: true,
  },
  translateHeap: { title: 'Heap allocated by a translation', unit: 'bytes', sizes: 'pages' },
  pair: {
    title: 'map + unmap of one page, no domain',
    unit: 'ns',
    sizes: 'areas',
    grows: true,
  },
  pairInDomain: {
    title: 'map + unmap of one page, one RadixDomain',
    unit: 'ns',
    sizes: 'areas',
    grows: true,
  },
  mapTebibyte: { title: 'map 1 TiB in 1 GiB pages', unit: 'ns', sizes: 'pages' },
  unmapTebibyte: { title: 'unmap 1 TiB in 1 GiB pages', unit: 'ns', sizes: 'pages' },
  mapScattered: { title: 'map scattered 4 KiB frames, for each page', unit: 'ns', sizes: 'pages' },
  unmapScattered: { title: 'unmap scattered 4 KiB frames, for each page', unit: 'ns', sizes: 'pages' },
  copyGibibyte: {
    title: 'copy 1 GiB into a second table with a domain, for each page',
    unit: 'ns',
    sizes: 'pages',
  },
  copyTouches: {
    title: 'Calls of the user memory during that copy',
    unit: 'calls',
    sizes: 'pages',
  },
  dmaRead: { title: 'readSync, one-page areas', unit: 'ns', sizes: 'bytes' },
  dmaWrite: { title: 'writeSync, one-page areas', unit: 'ns', sizes: 'bytes' },
  pinRelease: { title: 'Pin and release pages, no domain', unit: 'ns', sizes: 'pages' },
  pinReleaseInDomain: { title: 'Pin and release pages, one RadixDomain', unit: 'ns', sizes: 'pages' },
  heapPerArea: { title: 'Heap of a resident one-page area, one RadixDomain', unit: 'bytes', sizes: 'areas' },
  buffersPerArea: {
    title: 'Array buffers beside that heap: page table and pin counts',
    unit: 'bytes',
    sizes: 'areas',
  },
  heapOfPin: { title: 'Heap and buffers of a pin of contiguous frames', unit: 'bytes', sizes: 'pages' },
  heapOfWaitingMap: { title: 'Heap of a map that waits', unit: 'bytes', sizes: 'calls' },
  chooseIova: {
    title: 'map at an IOVA the table chooses + unmap, a hole near the start',
    unit: 'ns',
    sizes: 'areas',
    grows: true,
  },
  choosePacked: {
    title: 'map at an IOVA the table chooses + unmap, the only hole behind all areas',
    unit: 'ns',
    sizes: 'areas',
    grows: true,
  },
  copyPage: {
    title: 'copySync of one page + unmapSync, one RadixDomain',
    unit: 'ns',
    sizes: 'areas',
    grows: true,
  },
  readWord: { title: 'readSync of 64 bytes in a random area', unit: 'ns', sizes: 'areas', grows: true },
  pinPage: { title: 'pinSync + unpinSync of one page', unit: 'ns', sizes: 'areas', grows: true },
  cutPages: {
    title: 'map of two pages + cutIova between + unmap, no domain',
    unit: 'ns',
    sizes: 'areas',
    grows: true,
  },
  reserve: { title: 'reserveIova + removeReservedIova', unit: 'ns', sizes: 'areas', grows: true },
  readDirty: { title: 'readDirty of one page', unit: 'ns', sizes: 'areas', grows: true },
  fillDomain: {
    title: 'addDomain + removeDomain, for each area',
    unit: 'ns',
    sizes: 'areas',
    grows: 'each',
  },
  unmapAll: { title: 'unmapAll, for each area', unit: 'ns', sizes: 'areas', grows: 'each' },
  waiting: {
    title: 'Promises waiting on one lock, for each',
    unit: 'ns',
    sizes: 'calls',
    grows: 'each',
  },
  queuedWriters: {
    title: 'unmap of nothing that queues for a lock, for each',
    unit: 'ns',
    sizes: 'calls',
  },
  queuedReaders: {
    title: 'read of 8 bytes that queues for a lock, for each',
    unit: 'ns',
    sizes: 'calls',
  },
  latePins: {
    title: 'Concurrent maps whose pins resolve later, for each',
    unit: 'ns',
    sizes: 'calls',
    grows: 'each',
  },
  latePinsOrder: { title: 'Of those, calls that finished out of order', unit: 'calls', sizes: 'calls' },
  uapiRw: { title: 'access_rw through `uapi`', unit: 'ns', sizes: 'bytes' },
  uapiUnmap: { title: 'IOAS_UNMAP of nothing through `uapi`', unit: 'ns', sizes: 'bytes' },
  translateElsewhere: {
    title: 'Translate a random address in a second thread, 4 KiB pages',
    unit: 'ns',
    sizes: 'pages',
  },
  pairWithReader: {
    title: 'map + unmap of one page, waiting for a second thread that translates',
    unit: 'ns',
    sizes: 'pages',
  },
  regionRead: { title: 'vfio-user: REGION_READ, there and back', unit: 'ns', sizes: 'calls' },
  deviceRead: { title: 'vfio-user: a device reads memory of the client', unit: 'ns', sizes: 'bytes' },
  deviceWrite: { title: 'vfio-user: a device writes memory of the client', unit: 'ns', sizes: 'bytes' },
  realLog: {
    title: 'The virtio-iommu log: maps, unmaps and translations, for each',
    unit: 'ns',
    sizes: 'requests',
  },
} as const satisfies Record<string, RowInfo>;

/** Name of a row. */
export type RowName = keyof typeof ROWS;

/** All that is known of a row. */
export function rowInfo(name: RowName): RowInfo {
  return ROWS[name];
}

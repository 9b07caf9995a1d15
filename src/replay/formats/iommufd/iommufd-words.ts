/** The events of this format in words. */
import { hex } from '../../../u64.js';
import { type EventHandlers, handlerOf } from '../../log-format.js';
import { rangeInWords } from '../../replay-space.js';
import type { IommufdEvent, IommufdMapDma, IommufdMapFileDma, IommufdUnmapDma } from './iommufd-log.js';

const WORDS: EventHandlers<IommufdEvent, string> = {
  'iommufd-connect': ({ fd, users }) => `open iommufd ${fd} for user ${users}`,
  'iommufd-disconnect': ({ fd, users }) => `close iommufd ${fd}, which ${users} others use`,
  'iommufd-alloc-ioas': ({ ioas }) => `make ioas ${ioas}`,
  'iommufd-map-dma': (event) => mapFrom(`user ${hex(event.uptr)}`, event),
  'iommufd-map-file-dma': (event) => mapFrom(`byte ${hex(event.start)} of file ${event.fd}`, event),
  'iommufd-unmap-dma': unmap,
  'iommufd-unmap-dma-non-exist': unmap,
  'iommufd-alloc-hwpt': ({ hwpt, parent, device }) =>
    `make page table ${hwpt} on ioas ${parent} for device ${device}`,
  'iommufd-free-id': ({ id }) => `free object ${id}`,
  'iommufd-set-dirty': ({ enable, hwpt }) =>
    `${enable ? 'start' : 'stop'} dirty tracking of page table ${hwpt}`,
  'iommufd-get-dirty-bitmap': ({ iova, length, hwpt, pageSize }) =>
    `read dirty bits of ${rangeInWords(iova, length)} of page table ${hwpt} by ${hex(pageSize)}`,
};

/** What an event asks for, or says that has happened. */
export function describeIommufdEvent(event: IommufdEvent): string {
  return handlerOf(WORDS, event)(event);
}

function mapFrom(source: string, event: IommufdMapDma | IommufdMapFileDma): string {
  const { iova, length, ioas, readonly } = event;
  return `map ${rangeInWords(iova, length)} of ioas ${ioas} from ${source} (${readonly ? 'r' : 'rw'})`;
}

function unmap({ iova, length, ioas }: IommufdUnmapDma): string {
  return `unmap ${rangeInWords(iova, length)} of ioas ${ioas}`;
}

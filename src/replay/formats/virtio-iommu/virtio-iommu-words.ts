/** The events of this format in words. */
import { protectionName } from '../../../protection.js';
import { hex } from '../../../u64.js';
import { type EventHandlers, handlerOf } from '../../log-format.js';
import type { ViommuEvent } from './virtio-iommu-log.js';

const WORDS: EventHandlers<ViommuEvent, string> = {
  'viommu-map': (event) => `map ${rangeOf(event)} of domain ${event.domain} to ${hex(event.physical)}`,
  'viommu-unmap': (event) => `unmap ${rangeOf(event)} of domain ${event.domain}`,
  'viommu-unmap-done': (event) => `unmap ${rangeOf(event)} of domain ${event.domain}`,
  'viommu-translate': ({ iova, endpoint, access }) => {
    const wanted = protectionName(access);
    return `translate ${hex(iova)} for endpoint ${endpoint}${wanted === '' ? '' : ` (${wanted})`}`;
  },
  'viommu-translated': ({ iova, endpoint }) => `translate ${hex(iova)} for endpoint ${endpoint}`,
  'viommu-attach': ({ endpoint, domain }) => `attach endpoint ${endpoint} to domain ${domain}`,
  'viommu-detach': ({ endpoint, domain }) => `detach endpoint ${endpoint} from domain ${domain}`,
  'viommu-reserved': (event) => `reserve ${rangeOf(event)} for endpoint ${event.endpoint}`,
  'viommu-free-domain': ({ domain }) => `end domain ${domain}`,
  'viommu-free-endpoint': ({ endpoint }) => `end endpoint ${endpoint}`,
};

/** What an event asks for, or says that has happened. */
export function describeViommuEvent(event: ViommuEvent): string {
  return handlerOf(WORDS, event)(event);
}

/** A closed range in words. */
export function rangeOf({ iova, last }: { readonly iova: bigint; readonly last: bigint }): string {
  return `[${hex(iova)}, ${hex(last)}]`;
}

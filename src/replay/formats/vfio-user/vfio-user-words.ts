/** The events of this format in words. */
import { hex } from '../../../u64.js';
import { rangeInWords } from '../../replay-space.js';
import type { VfioUserEvent } from './vfio-user-log.js';

/** What a message says. */
export function describeVfioUserEvent(event: VfioUserEvent): string {
  switch (event.type) {
    case 'vfiouser-begin':
      return 'a client connects';
    case 'vfiouser-reply':
      return `reply to ${event.call} ${event.id}`;
    case 'vfiouser-map': {
      const from = event.file ? `byte ${hex(event.offset)} of a file` : 'memory behind messages';
      return `map ${rangeInWords(event.iova, event.length)} from ${from}`;
    }
    case 'vfiouser-unmap':
      return `unmap ${rangeInWords(event.iova, event.length)}`;
  }
}

/** The events of this format in words. */
import { hex } from '../../../u64.js';
import { rangeInWords } from '../../replay-space.js';
import type { VfioEvent } from './vfio-log.js';

/** What a call asks for. */
export function describeVfioEvent(event: VfioEvent): string {
  const where = rangeInWords(event.iova, event.length);
  return event.type === 'vfio-map' ? `map ${where} from user ${hex(event.uptr)}` : `unmap ${where}`;
}

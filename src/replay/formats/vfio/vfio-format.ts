/** The format of QEMU's VFIO container calls. */
import type { LogFormat } from '../../log-format.js';
import { VfioCallJoiner } from './vfio-calls.js';
import { formatVfioEvent, parseVfioLine, type VfioEvent } from './vfio-log.js';
import { VfioReplay } from './vfio-replay.js';
import { describeVfioEvent } from './vfio-words.js';

/** `vfio_dma_map(…) = RET` and `vfio_dma_unmap(…) = RET`. */
export const VFIO_FORMAT: LogFormat<VfioEvent> = {
  name: 'vfio',
  marks: ['vfio_dma_', 'vfio_container_dma_'],
  read: parseVfioLine,
  write: formatVfioEvent,
  describe: describeVfioEvent,
  join: () => new VfioCallJoiner(),
  begin: (model) => new VfioReplay(model),
};

/** Recorded sessions of vfio-user. */
import type { LogFormat } from '../../log-format.js';
import {
  formatVfioUserLine,
  readVfioUserLine,
  VFIO_USER_MARKS,
  type VfioUserEvent,
} from './vfio-user-log.js';
import { VfioUserReplay } from './vfio-user-replay.js';
import { describeVfioUserEvent } from './vfio-user-words.js';

export const VFIO_USER_FORMAT: LogFormat<VfioUserEvent> = {
  name: 'vfiouser',
  marks: VFIO_USER_MARKS,
  read: readVfioUserLine,
  write: formatVfioUserLine,
  describe: describeVfioUserEvent,
  begin: (model) => new VfioUserReplay(model),
};

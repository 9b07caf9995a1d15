/** The format of QEMU's iommufd trace events. */
import type { LogFormat } from '../../log-format.js';
import { IommufdAnswerJoiner } from './iommufd-answers.js';
import { formatIommufdEvent, type IommufdEvent, parseIommufdLine } from './iommufd-log.js';
import { IommufdReplay } from './iommufd-replay.js';
import { describeIommufdEvent } from './iommufd-words.js';

/** `iommufd_backend_map_dma …` and the other events of the family. */
export const IOMMUFD_FORMAT: LogFormat<IommufdEvent> = {
  name: 'iommufd',
  marks: ['iommufd_backend_'],
  read: parseIommufdLine,
  write: formatIommufdEvent,
  describe: describeIommufdEvent,
  join: () => new IommufdAnswerJoiner(),
  begin: (model) => new IommufdReplay(model),
};

/**
 * Replaying logs of real VMMs on the model: parsers, and a replayer that compares the answers.
 */
export { type Divergence, formatDivergence, type ReplayFigures, type ReplayStep } from './figures.js';
export type { LogEvent } from './formats/formats.js';
export { formatIommufdEvent, type IommufdEvent, parseIommufdLine } from './formats/iommufd/iommufd-log.js';
export { VfioCallJoiner } from './formats/vfio/vfio-calls.js';
export { formatVfioEvent, parseVfioLine, type VfioEvent } from './formats/vfio/vfio-log.js';
export {
  formatViommuEvent,
  parseViommuLine,
  type ViommuEvent,
} from './formats/virtio-iommu/virtio-iommu-log.js';
export { type HoleFigures, measureHoles } from './holes.js';
export { LogError } from './log-error.js';
export { type LogLines, type LogPlace, type MalformedLine, splitLines } from './log-line.js';
export { LoggedMemory } from './logged-memory.js';
export { readLog } from './read-log.js';
export {
  type RecordableStep,
  ReplayRecorder,
  type ReplayRecorderOptions,
  type StepCircumstances,
} from './recorder.js';
export type {
  RecordedArea,
  RecordedFigures,
  RecordedReservation,
  RecordedSetting,
  RecordedSpace,
  RecordedStep,
  ReplayRecording,
} from './recording.js';
export { type Answer, type NamedSpace, type ReplayQuestion, ReplaySpace } from './replay-space.js';
export { Replayer, type ReplayOptions, replay } from './replayer.js';

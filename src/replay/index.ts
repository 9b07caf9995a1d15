/**
 * Replaying logs of real VMMs on the model: parsers, and a replayer that compares the answers.
 */
export { type Divergence, formatDivergence, type ReplayFigures, type ReplayStep } from './figures.js';
export { type HoleFigures, measureHoles } from './holes.js';
export { formatIommufdEvent, type IommufdEvent, parseIommufdLine } from './iommufd-log.js';
export { type LogLines, type LogPlace, type MalformedLine, splitLines } from './log-line.js';
export { LoggedMemory } from './logged-memory.js';
export { type LogEvent, readLog } from './read-log.js';
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
export { type Answer, type NamedSpace, ReplaySpace } from './replay-space.js';
export { Replayer, type ReplayOptions, type ReplayQuestion, replay } from './replayer.js';
export { formatVfioEvent, parseVfioLine, VfioCallJoiner, type VfioEvent } from './vfio-log.js';
export { formatViommuEvent, parseViommuLine, type ViommuEvent } from './virtio-iommu-log.js';

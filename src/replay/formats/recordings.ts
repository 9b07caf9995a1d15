/**
 * All formats that a log has as a whole. One that is added is a folder beside these, and stands here.
 */
import type { RecordingFormat } from '../log-run.js';
import { TRACE_FORMAT } from './trace/trace-format.js';

/** A log is of the first one that knows its first line; of none: its lines may be of any of `LOG_FORMATS`. */
export const RECORDING_FORMATS: readonly RecordingFormat[] = [TRACE_FORMAT];

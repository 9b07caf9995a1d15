/**
 * Logs that cannot be replayed.
 */

/** A log that cannot be replayed, as opposed to one that diverges. */
export class LogError extends Error {
  override readonly name = 'LogError';
  /**
   * `ERR_LOG_EMPTY`: it has no lines; `ERR_LOG_FORMAT`: it begins like a conformance trace, and is none;
   * `ERR_LOG_OPTIONS`: it says itself what the options say differently; `ERR_LOG_TOO_LARGE`: it has more objects or
   * mappings at a time than are kept.
   */
  readonly code: 'ERR_LOG_EMPTY' | 'ERR_LOG_FORMAT' | 'ERR_LOG_OPTIONS' | 'ERR_LOG_TOO_LARGE';

  constructor(code: LogError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

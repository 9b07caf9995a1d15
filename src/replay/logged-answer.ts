/**
 * How logs name the kernel's answers.
 */
import { ERRNO, type ErrorCode } from '../errors.js';

/** What the C library says for each errno that an iommufd gives. */
const SENTENCES: Readonly<Record<ErrorCode, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EINTR: 'Interrupted system call',
  EIO: 'Input/output error',
  E2BIG: 'Argument list too long',
  EBADF: 'Bad file descriptor',
  EAGAIN: 'Resource temporarily unavailable',
  ENOMEM: 'Cannot allocate memory',
  EACCES: 'Permission denied',
  EFAULT: 'Bad address',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENODEV: 'No such device',
  EINVAL: 'Invalid argument',
  EMFILE: 'Too many open files',
  ENOTTY: 'Inappropriate ioctl for device',
  ENOSPC: 'No space left on device',
  EPIPE: 'Broken pipe',
  EDEADLOCK: 'Resource deadlock avoided',
  EBADE: 'Invalid exchange',
  EOVERFLOW: 'Value too large for defined data type',
  EBADFD: 'File descriptor in bad state',
  EMSGSIZE: 'Message too long',
  EOPNOTSUPP: 'Operation not supported',
  EADDRINUSE: 'Address already in use',
  ECONNRESET: 'Connection reset by peer',
  ETIMEDOUT: 'Connection timed out',
  ECONNREFUSED: 'Connection refused',
  ECANCELED: 'Operation canceled',
};

const CODES = Object.keys(ERRNO) as ErrorCode[];

/** An answer of which a log says no more than that it was an error. */
export const SOME_ERROR = 'an error';

/** The name of a kernel's answer: 0 is `OK`, −2 `ENOENT`; a number that the model never gives is `errno N`. */
export function errnoName(result: number): string {
  if (result === 0) return 'OK';
  return CODES.find((code) => ERRNO[code] === -result) ?? `errno ${-result}`;
}

/** The errno that a line tells in the words of the C library, if it does. */
export function errnoInWords(text: string): ErrorCode | undefined {
  return CODES.find((code) => text.includes(SENTENCES[code]));
}

/** Whether a log's answer and the model's are the same, as far as the log tells. */
export function agree(logged: string, answered: string): boolean {
  return logged === SOME_ERROR ? answered !== 'OK' : logged === answered;
}

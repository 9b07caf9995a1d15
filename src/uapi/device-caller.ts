/** The process that makes a call of a device, with its descriptors. */
import { checkCallback, checkObject } from '../arguments.js';
import { refuse } from '../errors.js';
import { type Caller, readCaller } from '../iommufd/caller.js';
import type { DmaBuf } from '../memory/dma-buf.js';
import type { UserFile } from '../memory/user-file.js';

/** What a descriptor is open on, as far as mapping by file is concerned. */
export type CallerFile =
  /** A file, of whatever kind. */
  | { readonly kind: 'file'; readonly file: UserFile }
  /** A dma-buf. */
  | { readonly kind: 'dma-buf'; readonly file: DmaBuf };

/** A process and its descriptors: `FileTable` keeps them for hosts whose program has none of its own. */
export interface DeviceCaller extends Caller {
  /**
   * What one of its descriptors is open on; `undefined` if it is not open, or only as a path (O_PATH). Absent: none is
   * open.
   */
  readonly file?: ((fd: number) => CallerFile | undefined) | undefined;
  /**
   * Opens a descriptor, the lowest free one, and gives its number. Absent: no more descriptors can be had.
   *
   * @throws EMFILE if no more can be had.
   */
  readonly openFile?: ((file: CallerFile) => number) | undefined;
}

/** Reads who makes a call, once. @throws TypeError if `caller`, an argument, is not as `DeviceCaller` says. */
export function readDeviceCaller(caller: DeviceCaller, name: string): DeviceCaller {
  const process = readCaller(caller, name);
  const { file, openFile } = caller;
  checkCallback(file, `${name}.file`);
  checkCallback(openFile, `${name}.openFile`);
  return { ...process, file, openFile };
}

/**
 * What a descriptor of the caller is open on.
 *
 * @throws EBADF if it is not open.
 */
export function fileOf({ file }: DeviceCaller, fd: number): CallerFile {
  const opened = file?.(fd);
  if (opened === undefined) throw refuse('EBADF', 'argument', `descriptor ${fd} is not open`);
  checkObject(opened, `file(${fd})`);
  return opened;
}

/**
 * Opens a descriptor of the caller and gives its number.
 *
 * @throws EMFILE if the caller can have no more of them, or the host opens none.
 */
export function openFile({ openFile: open }: DeviceCaller, file: CallerFile): number {
  if (open === undefined) throw refuse('EMFILE', 'state', 'the host opens no descriptors');
  return open(file);
}

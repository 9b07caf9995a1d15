/** An archive of files as the kernel unpacks it to its first root: cpio in the "newc" form. */

/** A file of the archive: its contents and its mode; a folder has no contents. */
export interface ArchiveFile {
  readonly path: string;
  readonly mode: number;
  readonly content?: Uint8Array;
}

const FOLDER = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
const TRAILER = 'TRAILER!!!';

export const folder = (path: string): ArchiveFile => ({ path, mode: FOLDER | 0o755 });

export const program = (path: string, content: Uint8Array | string): ArchiveFile => ({
  path,
  mode: REGULAR | 0o755,
  content: Buffer.from(content),
});

export const link = (path: string, target: string): ArchiveFile => ({
  path,
  mode: SYMLINK | 0o777,
  content: Buffer.from(target),
});

/** Packs the files; the folders that they are in have to come before them. */
export function cpio(files: readonly ArchiveFile[]): Buffer {
  const trailer: ArchiveFile = { path: TRAILER, mode: 0 };
  return Buffer.concat([...files, trailer].flatMap((file, at) => entry(file, at + 1)));
}

function entry({ path, mode, content = new Uint8Array() }: ArchiveFile, inode: number): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, owner, group, links, time, size, device of the file and in the file, length of the name, checksum
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [header, name, padding(header.length + name.length), content, padding(content.length)];
}

const padding = (length: number) => Buffer.alloc(-length & 3);

/** What the controller keeps its blocks in. */
import type { FileHandle } from 'node:fs/promises';

export interface Disk {
  /** Bytes: a multiple of a block. */
  readonly size: number;
  /** Fills `target` with the bytes from `offset` on. */
  read(offset: number, target: Uint8Array): Promise<void>;
  write(offset: number, source: Uint8Array): Promise<void>;
  /** Keeps what was written, whatever happens then. */
  flush(): Promise<void>;
}

/** Blocks in memory. */
export function memoryDisk(bytes: Uint8Array): Disk {
  return {
    size: bytes.length,
    async read(offset, target) {
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async write(offset, source) {
      bytes.set(source, offset);
    },
    async flush() {},
  };
}

/** Blocks in a file, which stays as long as it is. */
export async function fileDisk(file: FileHandle): Promise<Disk> {
  const { size } = await file.stat();
  return {
    size,
    async read(offset, target) {
      for (let done = 0; done < target.length; ) {
        const { bytesRead } = await file.read(target, done, target.length - done, offset + done);
        if (bytesRead === 0) throw new Error(`the file ends before byte ${offset + done}`);
        done += bytesRead;
      }
    },
    async write(offset, source) {
      for (let done = 0; done < source.length; ) {
        const { bytesWritten } = await file.write(source, done, source.length - done, offset + done);
        done += bytesWritten;
      }
    },
    flush: () => file.datasync(),
  };
}

/** Where the blocks of a disk are. */
import { type FileHandle, open } from 'node:fs/promises';

/** Bytes of a disk. All ranges are in it. */
export interface Storage {
  /** Bytes there are. */
  readonly size: number;
  /** Fills `target` with the bytes from `offset` on. */
  read(offset: number, target: Uint8Array): void | Promise<void>;
  /** Writes `source` to `offset` and after. */
  write(offset: number, source: Uint8Array): void | Promise<void>;
  /** Resolves when all that was written before would outlive a power cut. */
  flush(): void | Promise<void>;
}

/** A disk in memory, gone with the process. */
export class MemoryStorage implements Storage {
  readonly bytes: Uint8Array;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  read(offset: number, target: Uint8Array): void {
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  write(offset: number, source: Uint8Array): void {
    this.bytes.set(source, offset);
  }

  flush(): void {}
}

/** A disk in a file. */
export class FileStorage implements Storage {
  readonly size: number;
  readonly #file: FileHandle;

  private constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.size = size;
  }

  /** Opens a file, whose size is the disk's. */
  static async open(path: string): Promise<FileStorage> {
    const file = await open(path, 'r+');
    return new FileStorage(file, (await file.stat()).size);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      const { bytesRead } = await this.#file.read(target, done, target.length - done, offset + done);
      if (bytesRead === 0) throw new Error('the file has become shorter');
      done += bytesRead;
    }
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    for (let done = 0; done < source.length; ) {
      done += (await this.#file.write(source, done, source.length - done, offset + done)).bytesWritten;
    }
  }

  flush(): Promise<void> {
    return this.#file.datasync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

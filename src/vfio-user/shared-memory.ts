/** Guest memory in files that the client shares: mapped once, seen live. */
import { refuse } from '../errors.js';
import { ProcessMemory } from '../memory/process-memory.js';
import type { FileIdentity, FileMapping, Native } from '../native/native.js';
import { MAX_U64, PAGE_SIZE } from '../u64.js';
import type { GuestMemory, GuestRange } from './descriptors.js';

/** Files begin at multiples of it, as their buffers are that long. */
const FILE_ALIGNMENT = 2n ** 30n;
/** No file begins below. */
const FIRST_ADDRESS = FILE_ALIGNMENT;
/** The longest file that is mapped: processors have no more addresses than that. */
const LONGEST_FILE = 2n ** 47n;

/** A file that is mapped as a whole, as long as it was then. */
interface SharedFile {
  readonly mapping: FileMapping;
  readonly uptr: bigint;
  readonly length: bigint;
  /** Parts that are in use. */
  parts: number;
}

/** The memory that one client shares. */
export class SharedMemory implements GuestMemory {
  readonly memory = new ProcessMemory();
  readonly #native: Native;
  /** By identity: the mapping that further parts of a file are of. Older ones live as long as their own parts. */
  readonly #newest = new Map<string, SharedFile>();
  readonly #files = new Set<SharedFile>();
  #nextAddress = FIRST_ADDRESS;

  constructor(native: Native) {
    this.#native = native;
  }

  /** How many files are mapped now. */
  get files(): number {
    return this.#files.size;
  }

  map(descriptor: number, offset: bigint, length: bigint, writable: boolean): GuestRange {
    try {
      return this.#map(descriptor, offset, length, writable);
    } finally {
      this.#native.close(descriptor);
    }
  }

  #map(descriptor: number, offset: bigint, length: bigint, writable: boolean): GuestRange {
    const identity = this.#native.fileOf(descriptor);
    checkPart(identity, offset, length);
    const known = this.#newest.get(identity.key);
    const fits =
      known !== undefined && offset + length <= known.length && (known.mapping.writable || !writable);
    const file = fits ? known : this.#open(descriptor, identity, writable);
    file.parts++;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      file.parts--;
      if (file.parts === 0) this.#close(file, identity.key);
    };
    return { uptr: file.uptr + offset, release };
  }

  #open(descriptor: number, { key, size }: FileIdentity, writable: boolean): SharedFile {
    const length = size - (size % BigInt(PAGE_SIZE));
    if (length > LONGEST_FILE) throw refuse('ENOMEM', 'fault', `a file of ${size} bytes cannot be mapped`);
    const mapping = this.#native.mapFile(descriptor, Number(length));
    if (writable && !mapping.writable) {
      mapping.release();
      throw refuse(
        'EACCES',
        'state',
        'the file is to be written, but its descriptor is not open for writing',
      );
    }
    const file = { mapping, uptr: this.#nextAddress, length, parts: 0 };
    this.#nextAddress += roundUp(length);
    for (const [at, buffer] of mapping.buffers.entries()) {
      const uptr = file.uptr + BigInt(at) * FILE_ALIGNMENT;
      this.memory.mmap({ uptr, length: buffer.byteLength, buffer });
    }
    this.#newest.set(key, file);
    this.#files.add(file);
    return file;
  }

  #close(file: SharedFile, key: string): void {
    if (this.#newest.get(key) === file) this.#newest.delete(key);
    this.#files.delete(file);
    this.memory.munmap(file.uptr, file.length);
    file.mapping.release();
  }

  close(): void {
    this.#newest.clear();
    for (const file of this.#files) {
      this.memory.munmap(file.uptr, file.length);
      file.mapping.release();
      // The parts that are released after this find nothing to do.
      file.parts = 0;
    }
    this.#files.clear();
  }
}

function roundUp(length: bigint): bigint {
  return ((length + FILE_ALIGNMENT - 1n) / FILE_ALIGNMENT) * FILE_ALIGNMENT;
}

/** @throws EINVAL if that is no part of the file, in whole pages */
function checkPart({ size }: FileIdentity, offset: bigint, length: bigint): void {
  const page = BigInt(PAGE_SIZE);
  if (length === 0n || length % page !== 0n || offset % page !== 0n) {
    throw refuse('EINVAL', 'argument', 'offset and length of a part of a file must be multiples of 4096');
  }
  const past = offset + length;
  if (past > MAX_U64 || past > size) {
    const part = `${length} bytes from ${offset} on`;
    throw refuse('EINVAL', 'argument', `the file has ${size} bytes, and so not ${part}`);
  }
}

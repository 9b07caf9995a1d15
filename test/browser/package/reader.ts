// A worker that reads through a domain of another thread.
import { type RadixHandle, RadixReader, SharedFrames, type SharedMemoryHandle } from 'io-pagetable';

interface Order {
  readonly tables: RadixHandle;
  readonly frames: SharedMemoryHandle;
  readonly iova: bigint;
  readonly length: number;
}

addEventListener('message', ({ data }: MessageEvent<Order>) => {
  const reader = RadixReader.from(data.tables);
  const bytes = new Uint8Array(data.length);
  reader.read(data.iova, bytes, SharedFrames.from(data.frames));
  reader.close();
  postMessage(new TextDecoder().decode(bytes));
});

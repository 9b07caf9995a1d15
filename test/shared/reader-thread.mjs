/** The entry of a worker thread, which has to learn to read TypeScript first. */
import { register } from 'tsx/esm/api';

register();
await import('./reader-thread.ts');

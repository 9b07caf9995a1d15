import type { TestProject } from 'vitest/node';
import { prepareChroot } from '../../scripts/guest/chroot.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The folder of the system with QEMU and the guest's kernel. */
    root: string;
  }
}

/** Before all tests: the system that they run in is made, if there is none. */
export default function setup(project: TestProject): void {
  project.provide(
    'root',
    prepareChroot((line) => console.log(line)),
  );
}

/**
 * `npm run guest -- [--iommu intel-iommu|virtio-iommu] [--shared] [--append WORDS] [SOCKET …]`: a real guest with a
 * shell at this terminal. At each socket a vfio-user server listens, whose device the guest has.
 *
 * `--shared` gives the servers the guest's memory as file descriptors, `--append` the guest's kernel more arguments.
 * `poweroff -f` ends the guest, as does Ctrl+A and then X.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { prepareChroot } from './guest/chroot.js';
import { initramfs } from './guest/initramfs.js';
import { IOMMUS, Machine } from './guest/machine.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    iommu: { type: 'string', default: 'none' },
    shared: { type: 'boolean', default: false },
    append: { type: 'string', default: '' },
  },
});
const iommu = IOMMUS.find((name) => name === values.iommu);
if (iommu === undefined) throw new RangeError(`--iommu is one of ${IOMMUS.join(', ')}`);
const root = prepareChroot((line) => console.error(line));
const image = initramfs(root, {
  modules: iommu === 'virtio-iommu' ? ['virtio-iommu'] : [],
  // A terminal again, as long as there is a shell.
  script: 'stty -F /dev/ttyS0 sane\nsetsid -c sh\n',
});
await using machine = new Machine({
  root,
  initramfs: image,
  iommu,
  sharedMemory: values.shared,
  append: values.append,
});
const sockets = positionals.map((path) => resolve(path));
console.error(machine.command(sockets).join(' '));
process.exitCode = await machine.attach(sockets);

/** The `debug` namespace of this subpath: not with the others, as a bundle of the core does not need it. */
import createDebug from 'debug';

/** `iopt:vfio-user` */
export const logVfioUser = createDebug('iopt:vfio-user');

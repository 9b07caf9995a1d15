/** The `debug` namespace of this subpath: not with the others, as a bundle of the core does not need it. */
import { createLogger } from '../logger.js';

/** `iopt:vfio-user` */
export const logVfioUser = createLogger('iopt:vfio-user');

/** The `debug` namespaces of the library. Callers test `enabled` first, so nothing is formatted while they are off. */
import { createLogger } from './logger.js';

/** `iopt:map` */
export const logMap = createLogger('iopt:map');
/** `iopt:unmap` */
export const logUnmap = createLogger('iopt:unmap');
/** `iopt:copy` */
export const logCopy = createLogger('iopt:copy');
/** `iopt:access` */
export const logAccess = createLogger('iopt:access');
/** `iopt:domain` */
export const logDomain = createLogger('iopt:domain');
/** `iopt:lock` */
export const logLock = createLogger('iopt:lock');
/** `iopt:pages` */
export const logPages = createLogger('iopt:pages');
/** `iopt:uapi` */
export const logUapi = createLogger('iopt:uapi');

/** The `debug` namespaces of the library. Callers test `enabled` first, so nothing is formatted while they are off. */
import createDebug from 'debug';

/** `iopt:map` */
export const logMap = createDebug('iopt:map');
/** `iopt:unmap` */
export const logUnmap = createDebug('iopt:unmap');
/** `iopt:copy` */
export const logCopy = createDebug('iopt:copy');
/** `iopt:access` */
export const logAccess = createDebug('iopt:access');
/** `iopt:domain` */
export const logDomain = createDebug('iopt:domain');
/** `iopt:lock` */
export const logLock = createDebug('iopt:lock');
/** `iopt:pages` */
export const logPages = createDebug('iopt:pages');
/** `iopt:uapi` */
export const logUapi = createDebug('iopt:uapi');

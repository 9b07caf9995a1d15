/**
 * The groups of rows, in the order of the report. Each is loaded only in its own process.
 */
import type { Group } from '../harness/group.js';

/** Groups by the name that `--only` takes. */
export const GROUPS: Readonly<Record<string, () => Promise<Group>>> = {
  translate: async () => (await import('./translate.js')).translateGroup,
  'map-unmap': async () => (await import('./map-unmap.js')).mapUnmapGroup,
  'big-mappings': async () => (await import('./big-mappings.js')).bigMappingsGroup,
  dma: async () => (await import('./dma.js')).dmaGroup,
  memory: async () => (await import('./memory.js')).memoryGroup,
  growth: async () => (await import('./growth.js')).growthGroup,
  waiting: async () => (await import('./waiting.js')).waitingGroup,
  'shared-reader': async () => (await import('./shared-reader.js')).sharedReaderGroup,
  uapi: async () => (await import('./uapi.js')).uapiGroup,
  'vfio-user': async () => (await import('./vfio-user.js')).vfioUserGroup,
  'real-log': async () => (await import('./real-log.js')).realLogGroup,
};

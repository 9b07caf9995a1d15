/**
 * Pictures of an IOVA space.
 */
export { formatBytes, printable } from './format.js';
export { type RenderTextOptions, renderText } from './text.js';

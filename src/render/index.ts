/**
 * Pictures of an IOVA space.
 */
export { formatBytes, printable } from './format.js';
export { renderHtml } from './html.js';
export { type RenderSvgOptions, renderSvg } from './svg.js';
export { type RenderTextOptions, renderText } from './text.js';

export {
  RenderSvgOptions,
  RenderTextOptions,
  formatBytes,
  printable,
  renderHtml,
  renderSvg,
  renderText,
} from "./declarations.js";
import "node:events";

/**
 * The colours of pictures, light and dark.
 */

/** How many colours pages have before they are used again; letters tell apart what shares one. */
export const COLOURS = 12;

/** Hues far from their neighbours, so that pages that follow each other look different. */
const HUES = [212, 28, 140, 282, 48, 338, 174, 98, 248, 4, 192, 312] as const;

function palette(saturation: number, lightness: number): string {
  return HUES.map((hue, at) => `--iopt-${at}:hsl(${hue},${saturation}%,${lightness}%);`).join('');
}

const LIGHT = `--iopt-ground:#ffffff;--iopt-ink:#1b2129;--iopt-quiet:#5b6673;--iopt-line:#c5ccd4;\
--iopt-hole:#f4f6f8;--iopt-allowed:#e4f3e8;--iopt-reserved:#dfe3e8;--iopt-hatch:#98a2ae;--iopt-mark:#c2185b;${palette(72, 76)}`;
const DARK = `--iopt-ground:#12161b;--iopt-ink:#e6eaef;--iopt-quiet:#98a4b1;--iopt-line:#3a444f;\
--iopt-hole:#181d24;--iopt-allowed:#14291c;--iopt-reserved:#2a323b;--iopt-hatch:#66727f;--iopt-mark:#ff79a8;${palette(42, 36)}`;

/**
 * The style sheet of a picture. Its colours are custom properties, so a page that shows it can set others; by
 * default they are light or dark as the reader prefers.
 */
export const PICTURE_STYLE = `:root{${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
.iopt text{fill:var(--iopt-ink);font:12px ui-sans-serif,system-ui,sans-serif;direction:ltr;unicode-bidi:isolate}
.iopt .address,.iopt .name{font-family:ui-monospace,Menlo,Consolas,monospace}
.iopt .title{font-size:15px;font-weight:600}
.iopt .name{font-weight:600}
.iopt .quiet{fill:var(--iopt-quiet)}
.iopt .address{fill:var(--iopt-quiet);font-size:11.5px}
.iopt .ground{fill:var(--iopt-ground)}
.iopt .hole{fill:var(--iopt-hole)}
.iopt .allowed{fill:var(--iopt-allowed)}
.iopt .reserved{fill:url(#iopt-hatch)}
.iopt .hatch-ground{fill:var(--iopt-reserved)}
.iopt .hatch{stroke:var(--iopt-hatch);stroke-width:1.5}
.iopt .edge{fill:none;stroke:var(--iopt-line)}
.iopt .tick{stroke:var(--iopt-line)}
.iopt .break{fill:var(--iopt-ground);stroke:var(--iopt-line)}
.iopt .aperture{fill:none;stroke:var(--iopt-quiet);stroke-width:1.5}
.iopt .pin{fill:var(--iopt-mark)}
.iopt .stroke{stroke:var(--iopt-ground);stroke-width:.5}
.iopt .marked .edge{stroke:var(--iopt-mark);stroke-width:2}
.iopt .row:hover .edge,.iopt .row:focus .edge{stroke:var(--iopt-ink);stroke-width:2}
.iopt .row:focus{outline:none}
${HUES.map((_, at) => `.iopt .pages-${at}{fill:var(--iopt-${at})}`).join('\n')}
`;

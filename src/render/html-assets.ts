/**
 * Made of src/render/client by scripts/report-assets.ts (npm run build:report); not to be edited.
 */

/** The program of a report. */
export const REPORT_SCRIPT = `"use strict";
(() => {
  // ../format.ts
  var UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  var DIGITS = 4;
  function formatBytes(bytes) {
    let power = 0;
    while (power < UNITS.length - 1 && bytes >= 1n << BigInt(10 * (power + 1))) power++;
    const unit = 1n << BigInt(10 * power);
    const whole = String(bytes / unit);
    const rest = bytes % unit;
    if (rest === 0n) return \`\${whole} \${UNITS[power]}\`;
    const places = BigInt(Math.max(0, DIGITS - whole.length));
    const scaled = rest * 10n ** places;
    const digits = String(scaled / unit).padStart(Number(places), "0");
    if (places === 0n) return \`\${whole} \${UNITS[power]}\`;
    const shown = scaled % unit === 0n ? digits.replace(/0+$/, "") : digits;
    return \`\${whole}.\${shown} \${UNITS[power]}\`;
  }
  function printable(text) {
    return text.replaceAll(
      /[\\p{C}\\p{Zl}\\p{Zp}]/gu,
      (character) => \`\\\\u{\${character.codePointAt(0).toString(16)}}\`
    );
  }
  function letters(at) {
    const before = at < 26 ? "" : letters(Math.floor(at / 26) - 1);
    return before + String.fromCharCode("A".charCodeAt(0) + at % 26);
  }
  function count(number, one, many = \`\${one}s\`) {
    return \`\${number} \${number === 1 ? one : many}\`;
  }

  // ../html-data.ts
  var DIVERGES = 1;
  var REASON = 2;
  var ADVICE = 4;
  var REMOVED = 8;
  var ADDED = 16;
  var SETTING = 32;
  var ABOUT_A_SPACE = 64;
  function unpackRecording(packed2) {
    const unpacker = new Unpacker(packed2);
    const spaces = unpacker.list(() => unpacker.space());
    const steps = unpacker.list(() => unpacker.step());
    return { ...packed2.head, spaces, steps, skippedDivergences: unpacker.list(() => unpacker.step()) };
  }
  var PIECE = 1 << 14;
  var Unpacker = class {
    #words;
    #texts;
    #settings;
    #numbers = [];
    #at = 0;
    #line = 0;
    #pinned = 0;
    #pages = 0;
    constructor({ words, texts, settings, numbers }) {
      this.#words = words;
      this.#texts = texts;
      this.#settings = settings;
      let value = 0n;
      for (const distance of numbers === "" ? [] : numbers.split(" ")) {
        value += BigInt(\`0x\${distance}\`);
        this.#numbers.push(\`0x\${value.toString(16)}\`);
      }
    }
    list(unpack) {
      const length = this.#word();
      return Array.from({ length }, unpack);
    }
    space() {
      const id = this.#word();
      const name = this.#text();
      const areas = this.list(() => this.#area());
      return { id, name, areas, setting: this.#setting() };
    }
    step() {
      const flags = this.#word();
      const has = (flag) => (flags & flag) !== 0;
      const line = this.#line += this.#word();
      const pinnedPages = this.#pinned += this.#word();
      const space = has(ABOUT_A_SPACE) ? this.#word() : null;
      const [call, logged, answered] = [this.#text(), this.#text(), this.#text()];
      return {
        line,
        space,
        call,
        logged,
        answered,
        diverges: has(DIVERGES),
        pinnedPages,
        ...has(REASON) ? { reason: this.#text() } : {},
        ...has(ADVICE) ? { advice: this.#text() } : {},
        ...has(REMOVED) ? { removed: this.list(() => this.#text()) } : {},
        ...has(ADDED) ? { added: this.list(() => this.#area()) } : {},
        ...has(SETTING) ? { setting: this.#setting() } : {}
      };
    }
    #area() {
      const [iova, last, from, prot] = [this.#text(), this.#text(), this.#text(), this.#text()];
      const pages = this.#pages += this.#word();
      for (const source of ["file", "dma-buf"]) {
        const words = \`\${source} \`;
        if (from.startsWith(words)) return { iova, last, source, uptr: from.slice(words.length), prot, pages };
      }
      return { iova, last, uptr: from, prot, pages };
    }
    #setting() {
      return this.#settings[this.#word()];
    }
    #text() {
      const [first, ...others] = this.#texts[this.#word()];
      return others.reduce((text, part) => text + this.#numbers[this.#word()] + part, first);
    }
    #word() {
      return this.#words[this.#at++];
    }
  };

  // dom.ts
  var SVG = "http://www.w3.org/2000/svg";
  function byId(id, type) {
    const found = document.getElementById(id);
    if (found instanceof type) return found;
    throw new Error(\`the report has no \${id}\`);
  }
  function mount({ tag: tag2, attributes, children }) {
    const made = document.createElementNS(SVG, tag2);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== void 0 && name !== "xmlns") made.setAttribute(name, String(value));
    }
    for (const child of children) made.append(typeof child === "string" ? child : mount(child));
    return made;
  }
  function tag(name, text, className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    if (className !== "") made.className = className;
    return made;
  }

  // history.ts
  var NO_CHANGE = { gone: [], came: [] };
  var History = class {
    lifetimes = [];
    #changes = [];
    #settings = /* @__PURE__ */ new Map();
    #live = /* @__PURE__ */ new Map();
    #time = 0;
    /** How many times there are after time 0. */
    length;
    /** The first time at which most areas are there. */
    peak;
    constructor({ spaces, steps }) {
      this.length = steps.length;
      for (const { id, areas, setting } of spaces) {
        this.#live.set(id, new Map(areas.map((area) => [area.iova, this.#begin(id, area, 0)])));
        this.#settings.set(id, [{ time: 0, setting }]);
      }
      let most = this.lifetimes.length;
      let now = most;
      let peak = 0;
      for (const [at, step] of steps.entries()) {
        const { gone, came } = this.#record(step, at + 1);
        now += came.length - gone.length;
        if (now > most) [most, peak] = [now, at + 1];
      }
      this.peak = peak;
      this.#time = steps.length;
    }
    /** A space at a time. */
    at(time, space) {
      while (this.#time < time) this.#apply(this.#changes[this.#time++], "came", "gone");
      while (this.#time > time) this.#apply(this.#changes[--this.#time], "gone", "came");
      const setting = this.#settings.get(space).findLast((since) => since.time <= time).setting;
      const areas = [...this.#live.get(space).values()].map(({ area }) => area);
      return { ...setting, areas };
    }
    /** What the step before a time did. */
    changeAt(time) {
      return this.#changes[time - 1] ?? NO_CHANGE;
    }
    /** What a space was set to at any time. */
    settings(space) {
      return this.#settings.get(space).map(({ setting }) => setting);
    }
    #record(step, time) {
      if (step.space === null) {
        this.#changes.push(NO_CHANGE);
        return NO_CHANGE;
      }
      const { space, removed = [], added = [], setting } = step;
      const live = this.#live.get(space);
      if (setting !== void 0) this.#settings.get(space).push({ time, setting });
      const gone = removed.flatMap((iova) => live.get(iova) ?? []);
      for (const lifetime of gone) {
        lifetime.to = time;
        live.delete(lifetime.area.iova);
      }
      const came = added.map((area) => this.#begin(space, area, time));
      for (const lifetime of came) live.set(lifetime.area.iova, lifetime);
      const change = gone.length + came.length === 0 ? NO_CHANGE : { gone, came };
      this.#changes.push(change);
      return change;
    }
    #begin(space, area, from) {
      const held = { pins: 0, preventAccess: false, storageDomain: null };
      const drawn = { ...area, source: area.source ?? "user", ...held };
      const lifetime = { space, area: drawn, from, to: this.length + 1 };
      this.lifetimes.push(lifetime);
      return lifetime;
    }
    #apply(change, comes, goes) {
      for (const { space, area } of change[goes]) this.#live.get(space).delete(area.iova);
      for (const lifetime of change[comes]) this.#live.get(lifetime.space).set(lifetime.area.iova, lifetime);
    }
  };

  // ../svg-style.ts
  var COLOURS = 12;
  var HUES = [212, 28, 140, 282, 48, 338, 174, 98, 248, 4, 192, 312];
  function palette(saturation, lightness) {
    return HUES.map((hue, at) => \`--iopt-\${at}:hsl(\${hue},\${saturation}%,\${lightness}%);\`).join("");
  }
  var LIGHT = \`--iopt-ground:#ffffff;--iopt-ink:#1b2129;--iopt-quiet:#5b6673;--iopt-line:#c5ccd4;--iopt-hole:#f4f6f8;--iopt-allowed:#e4f3e8;--iopt-reserved:#dfe3e8;--iopt-hatch:#98a2ae;--iopt-mark:#c2185b;\${palette(72, 76)}\`;
  var DARK = \`--iopt-ground:#12161b;--iopt-ink:#e6eaef;--iopt-quiet:#98a4b1;--iopt-line:#3a444f;--iopt-hole:#181d24;--iopt-allowed:#14291c;--iopt-reserved:#2a323b;--iopt-hatch:#66727f;--iopt-mark:#ff79a8;\${palette(42, 36)}\`;
  var PICTURE_STYLE = \`:root{\${LIGHT}}
@media (prefers-color-scheme:dark){:root{\${DARK}}}
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
\${HUES.map((_, at) => \`.iopt .pages-\${at}{fill:var(--iopt-\${at})}\`).join("\\n")}
\`;

  // ../drawn-spans.ts
  function domainsOf({ storageDomain }, { domains }) {
    if (storageDomain === null) return "";
    return domains.length > 1 ? \`, in all \${domains.length} domains\` : \`, in domain \${storageDomain}\`;
  }
  var SPACE = 1n << 64n;
  function spansOf(snapshot) {
    const edges = /* @__PURE__ */ new Map([
      [0n, { starts: [], stops: [] }],
      [SPACE, { starts: [], stops: [] }]
    ]);
    const edge = (at) => {
      const known = edges.get(at) ?? { starts: [], stops: [] };
      edges.set(at, known);
      return known;
    };
    for (const piece of piecesOf(snapshot)) {
      edge(piece.first).starts.push(piece);
      edge(piece.last + 1n).stops.push(piece);
    }
    const cuts = [...edges].sort(([a], [b]) => a < b ? -1 : 1);
    const live = /* @__PURE__ */ new Set();
    const spans = [];
    for (const [at, [first, { starts, stops }]] of cuts.slice(0, -1).entries()) {
      for (const piece of stops) live.delete(piece);
      for (const piece of starts) live.add(piece);
      const span = { first, last: cuts[at + 1][0] - 1n, ...contents(live) };
      const before = spans.at(-1);
      if (before !== void 0 && alike(before, span)) spans[spans.length - 1] = { ...before, last: span.last };
      else spans.push(span);
    }
    return spans;
  }
  function* piecesOf(snapshot) {
    for (const area of snapshot.areas) yield { first: BigInt(area.iova), last: BigInt(area.last), area };
    for (const { start, last, owner } of snapshot.reserved) {
      yield { first: BigInt(start), last: BigInt(last), owner };
    }
    for (const { start, last } of snapshot.allowed) yield { first: BigInt(start), last: BigInt(last) };
  }
  function contents(live) {
    const pieces = [...live];
    const area = pieces.find((piece) => piece.area !== void 0)?.area;
    const owners = new Set(pieces.flatMap(({ owner }) => owner === void 0 ? [] : [owner]));
    const occupied = area !== void 0 || owners.size > 0;
    return { area, owners: [...owners].sort(), allowed: !occupied && pieces.length > 0 };
  }
  function alike(a, b) {
    return a.area === b.area && a.allowed === b.allowed && a.owners.join("\\n") === b.owners.join("\\n");
  }
  function sizeOf(span) {
    return span.last - span.first + 1n;
  }

  // ../svg-rows.ts
  var LEAST_HEIGHT = 26;
  var HEIGHT_A_BIT = 0.55;
  var NEIGHBOURHOOD_HEIGHT = 40;
  var SMALLEST_BITS = 12;
  function rowsOf(spans, most) {
    if (spans.length <= most) return spans.map((span) => rowFrom([span]));
    const magnitudes = new Set(spans.filter(isHole).map((span) => bitsOf(sizeOf(span))));
    let runs = [[...spans]];
    for (const least of [...magnitudes].sort((a, b) => b - a)) {
      const finer = apartAt(spans, least);
      if (finer.length > most) break;
      runs = finer;
    }
    return split(runs, most).map(rowFrom);
  }
  function apartAt(spans, least) {
    const runs = [];
    let run;
    for (const span of spans) {
      if (isHole(span) && bitsOf(sizeOf(span)) >= least) {
        runs.push([span]);
        run = void 0;
      } else if (run === void 0) runs.push(run = [span]);
      else run.push(span);
    }
    return runs;
  }
  function split(runs, most) {
    const room = most - runs.length;
    const spans = runs.reduce((sum, run) => sum + run.length, 0);
    const extra = spans - runs.length;
    return runs.flatMap((run) => {
      const parts = 1 + Math.floor(room * (run.length - 1) / Math.max(1, extra));
      return Array.from(
        { length: parts },
        (_, part) => run.slice(Math.floor(part * run.length / parts), Math.floor((part + 1) * run.length / parts))
      );
    });
  }
  function rowFrom(spans) {
    return { first: spans[0].first, last: spans.at(-1).last, spans };
  }
  function isHole({ area, owners }) {
    return area === void 0 && owners.length === 0;
  }
  function placeRows(rows, top) {
    let next = top;
    return rows.map((row) => {
      const height = row.spans.length > 1 ? NEIGHBOURHOOD_HEIGHT : LEAST_HEIGHT + HEIGHT_A_BIT * Math.max(0, bitsOf(sizeOf(row)) - SMALLEST_BITS);
      const placed = { ...row, top: next, height: Math.round(height) };
      next += placed.height;
      return placed;
    });
  }
  function bitsOf(bytes) {
    return bytes.toString(2).length;
  }
  function placeSpans(spans, width) {
    const weights = spans.map((span) => bitsOf(sizeOf(span)) * (isHole(span) ? 0.5 : 1));
    const scale = width / weights.reduce((sum, weight) => sum + weight, 0);
    let from = 0;
    return spans.map((span, at) => {
      const to = from + weights[at] * scale;
      const placed = { span, from, to };
      from = to;
      return placed;
    });
  }

  // axis.ts
  var UNUSED_WEIGHT = 4;
  var Axis = class {
    #places = /* @__PURE__ */ new Map();
    /** Where used ranges begin; those before which nothing ever is come first. */
    landmarks;
    constructor(ranges) {
      const changes = /* @__PURE__ */ new Map([
        [0n, 0],
        [1n << 64n, 0]
      ]);
      const change = (at, by) => changes.set(at, (changes.get(at) ?? 0) + by);
      for (const { first, last } of ranges) {
        change(first, 1);
        change(last + 1n, -1);
      }
      const edges = [...changes.keys()].sort((a, b) => a < b ? -1 : 1);
      const [islands, others, tops] = [[], [], []];
      let [depth, sum, unused] = [0, 0, true];
      for (const [at, edge] of edges.entries()) {
        tops.push(sum);
        depth += changes.get(edge);
        if (depth > 0) (unused ? islands : others).push(at);
        unused = depth === 0;
        const next = edges[at + 1];
        if (next !== void 0) sum += unused ? UNUSED_WEIGHT : bitsOf(next - edge);
      }
      for (const [at, edge] of edges.entries()) this.#places.set(edge, tops[at] / sum);
      this.landmarks = [...islands, ...others].map((at) => ({ iova: edges[at], at: tops[at] / sum }));
    }
    /** Where a range is. */
    place({ first, last }) {
      return { from: this.#places.get(first), to: this.#places.get(last + 1n) };
    }
  };

  // timeline.ts
  function isRefused({ answered, diverges }) {
    return diverges || answered !== "OK";
  }
  var GUTTER = 150;
  var MARKS = 14;
  var TEXT = 15;
  var Timeline = class {
    #canvas;
    #cursor;
    #places = /* @__PURE__ */ new WeakMap();
    #boxes = [];
    #contents = { lifetimes: [], settings: [], steps: [] };
    constructor(canvas, cursor) {
      this.#canvas = canvas;
      this.#cursor = cursor;
    }
    /** Shows other contents. */
    show(contents2) {
      this.#contents = contents2;
      this.draw();
    }
    /** Draws again, after the size or the colours have changed. */
    draw() {
      const { lifetimes, steps } = this.#contents;
      const { clientWidth: width, clientHeight: height } = this.#canvas;
      const ratio = window.devicePixelRatio;
      this.#canvas.width = width * ratio;
      this.#canvas.height = height * ratio;
      const context = this.#canvas.getContext("2d");
      context.scale(ratio, ratio);
      const style = getComputedStyle(this.#canvas);
      const colour = (name) => style.getPropertyValue(\`--iopt-\${name}\`);
      const plot = height - MARKS;
      context.fillStyle = colour("hole");
      context.fillRect(GUTTER, 0, width - GUTTER, plot);
      const { landmarks, areas, reserved } = this.#placesOf(this.#contents);
      const x = (time) => GUTTER + (width - GUTTER) * time / Math.max(1, steps.length);
      context.fillStyle = colour("reserved");
      for (const { from, to } of reserved) {
        context.fillRect(GUTTER, from * plot, width - GUTTER, Math.max(1, (to - from) * plot));
      }
      const colours = Array.from({ length: COLOURS }, (_, at) => colour(String(at)));
      this.#boxes = lifetimes.map((lifetime, at) => {
        const { from, to } = areas[at];
        const left = x(Math.max(0, lifetime.from - 1));
        const right = Math.max(left + 1, x(Math.min(steps.length, lifetime.to - 1)));
        return { lifetime, left, right, top: from * plot, bottom: Math.max(from * plot + 1, to * plot) };
      });
      for (const { lifetime, left, right, top, bottom } of this.#boxes) {
        context.fillStyle = colours[(lifetime.area.pages ?? 0) % COLOURS];
        const gap = bottom - top > 4 ? 1 : 0;
        context.fillRect(left, top, right - left, bottom - top - gap);
      }
      context.font = "11px ui-monospace, Menlo, Consolas, monospace";
      context.textAlign = "right";
      context.fillStyle = colour("quiet");
      const labelled = [];
      for (const { iova, at } of landmarks) {
        const y = Math.max(at * plot + 4, 10);
        if (labelled.some((other) => Math.abs(other - y) < TEXT)) continue;
        context.fillText(\`0x\${iova.toString(16)}\`, GUTTER - 8, y);
        labelled.push(y);
        if (labelled.length * TEXT > plot) break;
      }
      for (const [at, step] of steps.entries()) {
        if (!isRefused(step)) continue;
        context.fillStyle = colour(step.diverges ? "wrong" : "refused");
        const wide = Math.max(1.5, Math.min(8, x(1) - x(0)));
        context.fillRect((x(at) + x(at + 1) - wide) / 2, plot + 3, wide, MARKS - 4);
      }
    }
    /** Where everything is on the axis; found once for each contents, since there may be very much. */
    #placesOf(contents2) {
      const known = this.#places.get(contents2);
      if (known !== void 0) return known;
      const areas = contents2.lifetimes.map(({ area }) => ({
        first: BigInt(area.iova),
        last: BigInt(area.last)
      }));
      const reserved = contents2.settings.flatMap((setting) => setting.reserved).map(({ start, last }) => ({ first: BigInt(start), last: BigInt(last) }));
      const axis = new Axis([...areas, ...reserved]);
      const places = {
        landmarks: axis.landmarks,
        areas: areas.map((range) => axis.place(range)),
        reserved: reserved.map((range) => axis.place(range))
      };
      this.#places.set(contents2, places);
      return places;
    }
    /** Puts the cursor over the step before a time. */
    moveTo(time) {
      const steps = Math.max(1, this.#contents.steps.length);
      const { style } = this.#cursor;
      style.left = \`calc(\${GUTTER}px + (100% - \${GUTTER}px) * \${Math.max(0, time - 1) / steps})\`;
      style.width = time === 0 ? "0" : \`calc((100% - \${GUTTER}px) / \${steps})\`;
    }
    /** The time under the pointer. */
    timeAt({ offsetX }) {
      const { steps } = this.#contents;
      const part = (offsetX - GUTTER) / Math.max(1, this.#canvas.clientWidth - GUTTER);
      return Math.max(0, Math.min(steps.length, Math.ceil(part * steps.length)));
    }
    /** The area under the pointer. */
    areaAt({ offsetX, offsetY }) {
      return this.#boxes.find(
        ({ left, right, top, bottom }) => offsetX >= left && offsetX < right && offsetY >= top && offsetY < bottom
      )?.lifetime;
    }
  };

  // operations.ts
  var ROW = 46;
  var MORE = 6;
  var Operations = class {
    #list;
    #rows;
    #steps;
    #select;
    /** Indexes of the steps that are shown. */
    #shown = [];
    #time = 0;
    constructor(list, rows, steps, select) {
      this.#list = list;
      this.#rows = rows;
      this.#steps = steps;
      this.#select = select;
      list.addEventListener("scroll", () => this.#draw());
      list.addEventListener("keydown", (event) => this.#key(event));
      list.addEventListener("click", (event) => {
        const row = event.target instanceof Element ? event.target.closest("[data-time]") : null;
        if (row !== null) select(Number(row.getAttribute("data-time")));
      });
    }
    /** Shows those steps that a test holds for. */
    filter(shows) {
      this.#shown = [...this.#steps.keys()].filter((at) => shows(this.#steps[at]));
      this.#rows.style.height = \`\${this.#shown.length * ROW}px\`;
      this.moveTo(this.#time);
    }
    /** Makes the step before a time the current one, and brings it into sight. */
    moveTo(time) {
      this.#time = time;
      const place = this.#placeOf(time);
      const { scrollTop, clientHeight } = this.#list;
      if (place * ROW < scrollTop || (place + 1) * ROW > scrollTop + clientHeight) {
        this.#list.scrollTop = Math.max(0, place * ROW - clientHeight / 2);
      }
      this.#draw();
    }
    /** Draws again, after the size has changed. */
    resize() {
      this.#draw();
    }
    /** Where the last shown step before a time is; the first one if there is none. */
    #placeOf(time) {
      let [from, to] = [0, this.#shown.length];
      while (from < to) {
        const middle = from + to >> 1;
        if (this.#shown[middle] < time) from = middle + 1;
        else to = middle;
      }
      return Math.max(0, from - 1);
    }
    #draw() {
      const { scrollTop, clientHeight } = this.#list;
      const first = Math.max(0, Math.floor(scrollTop / ROW) - MORE);
      const drawn = this.#shown.slice(first, Math.ceil((scrollTop + clientHeight) / ROW) + MORE);
      this.#rows.replaceChildren(...drawn.map((at, offset) => this.#row(at, first + offset)));
      const current = this.#rows.querySelector("[aria-selected=true]");
      if (current === null) this.#list.removeAttribute("aria-activedescendant");
      else this.#list.setAttribute("aria-activedescendant", current.id);
    }
    #row(at, place) {
      const step = this.#steps[at];
      const state = step.diverges ? "diverges" : isRefused(step) ? "refused" : "fine";
      const row = document.createElement("div");
      row.id = \`operation-\${at}\`;
      row.className = \`operation \${state}\`;
      row.style.top = \`\${place * ROW}px\`;
      const attributes = {
        role: "option",
        "data-time": at + 1,
        "aria-posinset": place + 1,
        "aria-setsize": this.#shown.length,
        "aria-selected": at + 1 === this.#time
      };
      for (const [name, value] of Object.entries(attributes)) row.setAttribute(name, String(value));
      const answer = step.diverges ? \`\\u2717 log: \${step.logged}, model: \${step.answered}\` : \`\${step.answered === "OK" ? "\\u2713" : "!"} \${step.answered}\`;
      row.append(
        tag("span", printable(step.call), "call"),
        tag("span", printable(answer), "answer"),
        tag("span", \`line \${step.line}\`, "line")
      );
      return row;
    }
    #key(event) {
      const here = this.#placeOf(this.#time);
      const page = Math.max(1, Math.floor(this.#list.clientHeight / ROW) - 1);
      const moves = {
        ArrowDown: here + 1,
        ArrowUp: here - 1,
        PageDown: here + page,
        PageUp: here - page,
        Home: 0,
        End: this.#shown.length - 1
      };
      const to = moves[event.key];
      if (to === void 0 || this.#shown.length === 0) return;
      event.preventDefault();
      this.#select(this.#shown[Math.max(0, Math.min(this.#shown.length - 1, to))] + 1);
    }
  };

  // ../markup.ts
  function element(tag2, attributes = {}, ...children) {
    return { tag: tag2, attributes, children: children.flat() };
  }

  // ../svg.ts
  var LEAST_ROWS = 3;
  var WIDTH = 960;
  var MARGIN = 16;
  var STRIP_LEFT = 212;
  var STRIP_WIDTH = 250;
  var SIZE_RIGHT = STRIP_LEFT + STRIP_WIDTH + 78;
  var TEXT_LEFT = SIZE_RIGHT + 14;
  var LINE = 18;
  var LANE = 7;
  var MOST_LANES = 4;
  var LEAST_TORN_BITS = 24;
  var MOST_TEXT = 62;
  var LEAST_STROKE = 0.7;
  var LEAST_NAMED = 36;
  function drawSpace(space, options) {
    const title = printable(options.title);
    const domains = space.domains.map(({ pageSizes, aperture }, at) => {
      const sizes = pageSizes.map((size) => formatBytes(BigInt(size))).join(", ");
      return \`domain \${at}: page sizes \${sizes}; aperture \${aperture.start} to \${aperture.last}\`;
    });
    const shown = domains.slice(0, MOST_LANES);
    if (domains.length > shown.length) shown.push(\`and \${count(domains.length - shown.length, "domain")} more\`);
    const heading = [options.facts, ...shown].map(
      (line, at) => label(MARGIN, MARGIN + 2 * LINE + at * LINE, line, "quiet")
    );
    const top = MARGIN + (heading.length + 2) * LINE;
    const spans = spansOf(space);
    const rows = placeRows(rowsOf(spans, Math.max(LEAST_ROWS, options.rows)), top);
    const bottom = rows.at(-1).top + rows.at(-1).height;
    const height = bottom + LINE + MARGIN;
    const largest = spans.reduce((most, span) => Math.max(most, areaBits(span)), LEAST_TORN_BITS);
    const used = spans.filter((span) => !isHole(span)).length;
    const description = \`\${printable(options.facts)}. \${[...domains, ""].join(". ")}\${count(used, "range")} in use from \${hex(spans[0].first)} to \${hex(spans.at(-1).last)}, from top to bottom; what is in a row is written beside it.\`;
    const hatch = element(
      "pattern",
      { id: "iopt-hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      element("rect", { width: 8, height: 8, class: "hatch-ground" }),
      element("line", { x1: 0, y1: 0, x2: 0, y2: 8, class: "hatch" })
    );
    return element(
      "svg",
      {
        xmlns: "http://www.w3.org/2000/svg",
        viewBox: \`0 0 \${WIDTH} \${height}\`,
        width: WIDTH,
        height,
        class: "iopt",
        role: "img",
        "aria-labelledby": "iopt-title iopt-description"
      },
      element("title", { id: "iopt-title" }, title),
      element("desc", { id: "iopt-description" }, description),
      element("defs", {}, hatch),
      element("rect", { width: WIDTH, height, class: "ground" }),
      label(MARGIN, MARGIN + LINE - 4, options.title, "title"),
      heading,
      rows.map((row) => drawRow(row, space, options, largest)),
      space.domains.slice(0, MOST_LANES).map(({ aperture }, lane) => bracket(aperture, lane, rows)),
      element("line", tickAt(bottom)),
      label(STRIP_LEFT - MOST_LANES * LANE - 12, bottom + 4, hex(rows.at(-1).last), "address", "end")
    );
  }
  function drawRow(row, space, options, largest) {
    const [span] = row.spans;
    const middle = row.top + row.height / 2;
    const marked = row.spans.some(options.marked);
    const [headline, detail] = row.spans.length === 1 ? describe(span, space, options) : sumUp(row.spans);
    const bounds = \`\${hex(row.first)} to \${hex(row.last)}\`;
    const tone = row.spans.every(isHole) ? "quiet" : void 0;
    return element(
      "g",
      { class: marked ? "row marked" : "row" },
      element("title", {}, printable(\`\${bounds}, \${formatBytes(sizeOf(row))}: \${headline}\${detail}\`)),
      strip(row, options),
      row.spans.length === 1 && isHole(span) && bitsOf(sizeOf(row)) > largest ? [torn(row)] : [],
      element("line", tickAt(row.top)),
      label(STRIP_LEFT - MOST_LANES * LANE - 12, row.top + 4, hex(row.first), "address", "end"),
      label(SIZE_RIGHT, middle + 4, formatBytes(sizeOf(row)), tone, "end"),
      label(TEXT_LEFT, middle + 4, headline + detail, tone)
    );
  }
  function strip(row, options) {
    const { top, height } = row;
    const edge = element("rect", {
      x: STRIP_LEFT,
      y: top + 0.5,
      width: STRIP_WIDTH,
      height: height - 1,
      class: "edge"
    });
    if (row.spans.length === 1) {
      const [{ area, owners }] = row.spans;
      const back2 = box(STRIP_LEFT, top, STRIP_WIDTH, height, classOf(row.spans[0]));
      if (area === void 0) return [back2, edge];
      const name = area.pages === null ? "?" : options.name(area.pages);
      const over = owners.length === 0 ? [] : [box(STRIP_LEFT, top + height - 6, STRIP_WIDTH, 6, "reserved")];
      const pins = area.pins === 0 ? [] : [pinAt(STRIP_LEFT + STRIP_WIDTH - 16, top + height / 2)];
      const named = label(STRIP_LEFT + STRIP_WIDTH / 2, top + height / 2 + 4, name, "name", "middle");
      return [back2, ...over, named, ...pins, edge];
    }
    const back = box(STRIP_LEFT, top, STRIP_WIDTH, height, "hole");
    const strokes = [];
    let drawnTo = 0;
    for (const { span, from, to } of placeSpans(row.spans, STRIP_WIDTH)) {
      if (isHole(span) || to - drawnTo < LEAST_STROKE) continue;
      strokes.push(box(STRIP_LEFT + from, top + 3, to - from, height - 6, \`stroke \${classOf(span)}\`));
      if (to - from >= LEAST_NAMED && typeof span.area?.pages === "number") {
        const middle = STRIP_LEFT + (from + to) / 2;
        strokes.push(
          label(round(middle), top + height / 2 + 4, options.name(span.area.pages), "name", "middle")
        );
      }
      drawnTo = to;
    }
    return [back, ...strokes, edge];
  }
  function classOf({ area, owners, allowed }) {
    if (area !== void 0) return area.pages === null ? "reserved" : \`pages-\${area.pages % COLOURS}\`;
    if (owners.length > 0) return "reserved";
    return allowed ? "hole allowed" : "hole";
  }
  function areaBits(span) {
    return span.area === void 0 ? 0 : bitsOf(sizeOf(span));
  }
  function describe(span, space, { name }) {
    const { area, owners } = span;
    const reserved = owners.length === 0 ? "" : \`reserved by \${owners.join(" and ")}\`;
    if (area === void 0) {
      if (reserved !== "") return [reserved, ""];
      return [space.allowed.length === 0 ? "hole" : span.allowed ? "hole, allowed" : "hole, not allowed", ""];
    }
    const prot = area.prot === "" ? "no access" : area.prot;
    const also = reserved === "" ? "" : \`; \${reserved}\`;
    if (area.uptr === null || area.pages === null) return [prot, \`, being set up or torn down\${also}\`];
    const pins = area.pins === 0 ? "" : \`, \${count(area.pins, "pin")}\`;
    const leaving = area.preventAccess ? ", being unmapped" : "";
    return [
      \`\${prot}, \${area.source} \${area.uptr}\`,
      \`, pages \${name(area.pages)}\${domainsOf(area, space)}\${pins}\${leaving}\${also}\`
    ];
  }
  function sumUp(spans) {
    const areas = spans.filter(({ area }) => area !== void 0);
    const owned = spans.filter(({ area, owners }) => area === void 0 && owners.length > 0);
    const holes = spans.length - areas.length - owned.length;
    const mapped = areas.reduce((sum, span) => sum + sizeOf(span), 0n);
    const parts = [
      ...areas.length === 0 ? [] : [count(areas.length, "area")],
      // Where a row is nothing but areas, its own size says it.
      ...areas.length === 0 || areas.length === spans.length ? [] : [\`\${formatBytes(mapped)} together\`],
      ...owned.length === 0 ? [] : [count(owned.length, "reserved range")],
      ...holes === 0 ? [] : [count(holes, "hole")]
    ];
    return [parts.join(", "), ""];
  }
  function bracket(aperture, lane, rows) {
    const from = heightOf(BigInt(aperture.start), rows);
    const to = heightOf(BigInt(aperture.last) + 1n, rows);
    const x = STRIP_LEFT - 6 - lane * LANE;
    const path = \`M\${x + 4} \${from + 1}H\${x}V\${to - 1}H\${x + 4}\`;
    const title = \`aperture of domain \${lane}: \${aperture.start} to \${aperture.last}\`;
    return element("g", {}, element("title", {}, title), element("path", { d: path, class: "aperture" }));
  }
  function heightOf(iova, rows) {
    const row = rows.find(({ last }) => iova <= last);
    if (row === void 0) return rows.at(-1).top + rows.at(-1).height;
    const part = Number((iova - row.first << 16n) / sizeOf(row)) / 2 ** 16;
    return row.top + part * row.height;
  }
  function torn({ top, height }) {
    const step = STRIP_WIDTH / 25;
    const edge = (y2) => Array.from({ length: 26 }, (_, at) => \`\${(STRIP_LEFT + at * step).toFixed(1)} \${y2 + at % 2 * 5}\`);
    const y = top + height / 2 - 6;
    const [upper, lower] = [edge(y), edge(y + 7).reverse()];
    return element("path", { d: \`M\${[...upper, ...lower].join("L")}Z\`, class: "break" });
  }
  function pinAt(x, y) {
    return element("path", { d: \`M\${x} \${y + 7}V\${y}m-4 -4a4 4 0 1 1 8 0a4 4 0 1 1 -8 0\`, class: "pin" });
  }
  function box(x, y, width, height, name) {
    return element("rect", { x: round(x), y, width: round(width), height, class: name });
  }
  function tickAt(y) {
    return { x1: STRIP_LEFT - MOST_LANES * LANE - 8, x2: STRIP_LEFT, y1: y + 0.5, y2: y + 0.5, class: "tick" };
  }
  function label(x, y, text, name, anchor) {
    const safe = printable(text);
    const characters = [...safe];
    const most = x === TEXT_LEFT ? MOST_TEXT : 2 * MOST_TEXT;
    const cut = characters.length > most ? \`\${characters.slice(0, most - 1).join("")}\\u2026\` : safe;
    return element("text", { x, y, class: name, "text-anchor": anchor }, cut);
  }
  function round(number) {
    return Math.round(number * 100) / 100;
  }
  function hex(iova) {
    return \`0x\${iova.toString(16)}\`;
  }

  // picture.ts
  var Picture = class {
    #box;
    constructor(box2, tell) {
      this.#box = box2;
      const told = (event) => {
        const row = event.target instanceof Element ? event.target.closest(".row") : null;
        if (row !== null) tell(row.getAttribute("aria-label") ?? "");
      };
      box2.addEventListener("pointerover", told);
      box2.addEventListener("focusin", told);
      box2.addEventListener("keydown", (event) => this.#key(event));
    }
    /** Shows a space. */
    show(space, options) {
      const held = this.#rows().findIndex((row) => row.matches(":focus"));
      const drawn = drawSpace(space, options);
      const svg = mount(element("svg", { ...drawn.attributes, role: "list" }, drawn.children));
      this.#box.replaceChildren(svg);
      for (const [at, row] of this.#rows().entries()) {
        row.setAttribute("role", "listitem");
        row.setAttribute("tabindex", at === 0 ? "0" : "-1");
        const title = row.querySelector("title");
        row.setAttribute("aria-label", title?.textContent ?? "");
        title?.remove();
      }
      if (held >= 0) this.#focus(held);
    }
    #rows() {
      return [...this.#box.querySelectorAll(".row")];
    }
    #focus(at) {
      const rows = this.#rows();
      const row = rows[Math.max(0, Math.min(rows.length - 1, at))];
      for (const other of rows) other.setAttribute("tabindex", other === row ? "0" : "-1");
      row?.focus();
    }
    #key(event) {
      const rows = this.#rows();
      const here = rows.findIndex((row) => row.matches(":focus"));
      const moves = {
        ArrowDown: here + 1,
        ArrowUp: here - 1,
        Home: 0,
        End: rows.length - 1
      };
      const to = moves[event.key];
      if (to === void 0 || here < 0) return;
      event.preventDefault();
      this.#focus(to);
    }
  };

  // report.ts
  var ROWS = 72;
  var MOST_CHANGES = 4;
  var PAGE = 4096n;
  var Report = class {
    #recording;
    #history;
    #slider = byId("time", HTMLInputElement);
    #spaces = byId("space", HTMLSelectElement);
    #details = byId("details", HTMLElement);
    #operation = byId("operation", HTMLElement);
    #timeline = new Timeline(byId("timeline", HTMLCanvasElement), byId("cursor", HTMLElement));
    #operations;
    #picture;
    /** Times after refused steps. */
    #refused;
    #timelines = /* @__PURE__ */ new Map();
    /** The space whose timeline is drawn. */
    #drawn;
    #time = -1;
    #space;
    #frame = 0;
    constructor(recording) {
      this.#recording = recording;
      this.#history = new History(recording);
      this.#refused = recording.steps.flatMap((step, at) => isRefused(step) ? [at + 1] : []);
      this.#picture = new Picture(byId("picture", HTMLElement), (text) => this.#tell(text));
      this.#operations = new Operations(
        byId("operations", HTMLElement),
        byId("rows", HTMLElement),
        recording.steps,
        (time) => this.go(time)
      );
      for (const { id, name } of recording.spaces) {
        const option = tag("option", printable(name));
        option.setAttribute("value", String(id));
        this.#spaces.append(option);
      }
      this.#space = recording.spaces[0]?.id;
      this.#slider.max = String(recording.steps.length);
      this.#listen();
      this.#operations.filter(() => true);
      this.go(this.#firstTime());
    }
    /** Shows a time, and the space that the step before it is about. */
    go(time) {
      const bounded = Math.max(0, Math.min(this.#recording.steps.length, time));
      if (bounded === this.#time) return;
      this.#time = bounded;
      this.#space = this.#step()?.space ?? this.#space;
      this.#frame ||= requestAnimationFrame(() => {
        this.#frame = 0;
        this.#show();
      });
    }
    #firstTime() {
      const wrong = this.#recording.steps.findIndex((step) => step.diverges);
      return wrong < 0 ? this.#history.peak : wrong + 1;
    }
    #step() {
      return this.#recording.steps[this.#time - 1];
    }
    #show() {
      const { steps, skipped } = this.#recording;
      const step = this.#step();
      const of = \`\${skipped + this.#time} of \${skipped + steps.length}\`;
      const where = step === void 0 ? "before the first step" : \`step \${of}\`;
      this.#slider.value = String(this.#time);
      this.#slider.setAttribute(
        "aria-valuetext",
        step === void 0 ? where : printable(\`\${where}: \${step.call}\`)
      );
      byId("where", HTMLElement).textContent = where;
      this.#showTimeline();
      this.#timeline.moveTo(this.#time);
      this.#operations.moveTo(this.#time);
      this.#showOperation(step);
      this.#showPicture(step);
    }
    #showOperation(step) {
      const parts = [tag("h2", printable(step?.call ?? "Before the first step"))];
      if (step !== void 0) {
        const model = this.#recording.profile;
        const because = step.reason === void 0 ? "" : \` because \${step.reason}\`;
        const says = step.diverges ? \`The log says \${step.logged}, \${model} says \${step.answered}\${because}.\` : \`\${step.answered}\${because}.\`;
        parts.push(tag("p", printable(says), step.diverges ? "diverges" : ""));
        if (step.advice !== void 0) parts.push(tag("p", printable(\`Instead: \${step.advice}.\`)));
        const { gone, came } = this.#history.changeAt(this.#time);
        for (const [sign, changed] of [
          ["\\u2212", gone],
          ["+", came]
        ]) {
          for (const { area } of changed.slice(0, MOST_CHANGES)) {
            parts.push(tag("p", \`\${sign} \${describeArea(area)}\`));
          }
          const more = changed.length - MOST_CHANGES;
          if (more > 0) parts.push(tag("p", \`\${sign} \${more} more\`));
        }
        const pinned = formatBytes(BigInt(step.pinnedPages) * PAGE);
        parts.push(tag("p", \`Line \${step.line} of the log; \${pinned} pinned after it.\`, "quiet"));
      }
      this.#operation.replaceChildren(...parts);
    }
    #showPicture(step) {
      const space = this.#space;
      if (space === void 0) return;
      this.#spaces.value = String(space);
      const drawn = this.#history.at(this.#time, space);
      const { gone, came } = step?.space === space ? this.#history.changeAt(this.#time) : NO_CHANGE;
      const added = new Set(came.map(({ area }) => area));
      const emptied = gone.map(({ area }) => ({ first: BigInt(area.iova), last: BigInt(area.last) }));
      const name = this.#recording.spaces.find(({ id }) => id === space).name;
      this.#picture.show(drawn, {
        title: name,
        facts: \`\${count(drawn.areas.length, "area")}, alignment \${formatBytes(BigInt(drawn.alignment))}\`,
        rows: ROWS,
        name: nameOfPages,
        marked: ({ area, first, last }) => area !== void 0 ? added.has(area) : emptied.some((range) => range.first <= last && range.last >= first)
      });
    }
    #showTimeline() {
      const space = this.#space;
      if (space === void 0 || space === this.#drawn) return;
      this.#drawn = space;
      const contents2 = this.#timelines.get(space) ?? {
        lifetimes: this.#history.lifetimes.filter((lifetime) => lifetime.space === space),
        settings: this.#history.settings(space),
        steps: this.#recording.steps
      };
      this.#timelines.set(space, contents2);
      this.#timeline.show(contents2);
    }
    #tell(text) {
      this.#details.textContent = text;
    }
    #describe({ area, from, to }) {
      const { skipped, steps } = this.#recording;
      const since = from === 0 ? "from before the first step" : \`from step \${skipped + from}\`;
      const until = to > steps.length ? "" : \` to step \${skipped + to}\`;
      return \`\${describeArea(area)}, \${since}\${until}\`;
    }
    #listen() {
      const steps = this.#recording.steps;
      this.#slider.addEventListener("input", () => this.go(this.#slider.valueAsNumber));
      this.#spaces.addEventListener("change", () => {
        this.#space = Number(this.#spaces.value);
        this.#showTimeline();
        this.#showPicture(this.#step());
      });
      const shows = {
        all: () => true,
        failing: isRefused,
        diverging: ({ diverges }) => diverges
      };
      const filter = byId("filter", HTMLSelectElement);
      filter.addEventListener("change", () => this.#operations.filter(shows[filter.value]));
      const click = (id, time) => byId(id, HTMLButtonElement).addEventListener("click", () => this.go(time() ?? this.#time));
      click("previous", () => this.#time - 1);
      click("next", () => this.#time + 1);
      click("previous-failing", () => this.#refused.findLast((time) => time < this.#time));
      click("next-failing", () => this.#refused.find((time) => time > this.#time));
      const canvas = byId("timeline", HTMLCanvasElement);
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        this.go(this.#timeline.timeAt(event));
      });
      canvas.addEventListener("pointermove", (event) => {
        if (event.buttons > 0) this.go(this.#timeline.timeAt(event));
        const lifetime = this.#timeline.areaAt(event);
        const step = steps[this.#timeline.timeAt(event) - 1];
        if (lifetime !== void 0) this.#tell(this.#describe(lifetime));
        else if (step !== void 0) this.#tell(printable(\`line \${step.line}: \${step.call}: \${step.answered}\`));
      });
      const again = () => {
        this.#timeline.draw();
        this.#operations.resize();
      };
      window.addEventListener("resize", again);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    }
  };
  function describeArea({ iova, last, prot, source, uptr, pages }) {
    const size = formatBytes(BigInt(last) - BigInt(iova) + 1n);
    const access = prot === "" ? "no access" : prot;
    return printable(
      \`\${iova} to \${last}, \${size}: \${access}, \${source} \${uptr}, pages \${nameOfPages(pages ?? 0)}\`
    );
  }
  function nameOfPages(pages) {
    return letters(Math.max(0, pages - 1));
  }
  var packed = JSON.parse(byId("recording", HTMLScriptElement).text);
  new Report(unpackRecording(packed));
  document.documentElement.setAttribute("data-ready", "");
})();
`;

/** The style sheet of a report. */
export const REPORT_STYLE = `:root{--iopt-ground:#ffffff;--iopt-ink:#1b2129;--iopt-quiet:#5b6673;--iopt-line:#c5ccd4;--iopt-hole:#f4f6f8;--iopt-allowed:#e4f3e8;--iopt-reserved:#dfe3e8;--iopt-hatch:#98a2ae;--iopt-mark:#c2185b;--iopt-0:hsl(212,72%,76%);--iopt-1:hsl(28,72%,76%);--iopt-2:hsl(140,72%,76%);--iopt-3:hsl(282,72%,76%);--iopt-4:hsl(48,72%,76%);--iopt-5:hsl(338,72%,76%);--iopt-6:hsl(174,72%,76%);--iopt-7:hsl(98,72%,76%);--iopt-8:hsl(248,72%,76%);--iopt-9:hsl(4,72%,76%);--iopt-10:hsl(192,72%,76%);--iopt-11:hsl(312,72%,76%);}
@media (prefers-color-scheme:dark){:root{--iopt-ground:#12161b;--iopt-ink:#e6eaef;--iopt-quiet:#98a4b1;--iopt-line:#3a444f;--iopt-hole:#181d24;--iopt-allowed:#14291c;--iopt-reserved:#2a323b;--iopt-hatch:#66727f;--iopt-mark:#ff79a8;--iopt-0:hsl(212,42%,36%);--iopt-1:hsl(28,42%,36%);--iopt-2:hsl(140,42%,36%);--iopt-3:hsl(282,42%,36%);--iopt-4:hsl(48,42%,36%);--iopt-5:hsl(338,42%,36%);--iopt-6:hsl(174,42%,36%);--iopt-7:hsl(98,42%,36%);--iopt-8:hsl(248,42%,36%);--iopt-9:hsl(4,42%,36%);--iopt-10:hsl(192,42%,36%);--iopt-11:hsl(312,42%,36%);}}
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
.iopt .pages-0{fill:var(--iopt-0)}
.iopt .pages-1{fill:var(--iopt-1)}
.iopt .pages-2{fill:var(--iopt-2)}
.iopt .pages-3{fill:var(--iopt-3)}
.iopt .pages-4{fill:var(--iopt-4)}
.iopt .pages-5{fill:var(--iopt-5)}
.iopt .pages-6{fill:var(--iopt-6)}
.iopt .pages-7{fill:var(--iopt-7)}
.iopt .pages-8{fill:var(--iopt-8)}
.iopt .pages-9{fill:var(--iopt-9)}
.iopt .pages-10{fill:var(--iopt-10)}
.iopt .pages-11{fill:var(--iopt-11)}
:root {
  color-scheme: light dark;
  --iopt-wrong: #c62828;
  --iopt-refused: #b26a00;
  --iopt-accent: #1a66c9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --iopt-wrong: #ff7b72;
    --iopt-refused: #e3a84a;
    --iopt-accent: #6cabff;
  }
}
* {
  box-sizing: border-box;
}
body {
  margin: 0 auto;
  max-width: 1500px;
  padding: 16px 24px 32px;
  background: var(--iopt-ground);
  color: var(--iopt-ink);
  font:
    14px / 1.45 ui-sans-serif,
    system-ui,
    sans-serif;
}
h1,
h2 {
  margin: 0;
  font-size: 20px;
  line-height: 1.3;
  overflow-wrap: anywhere;
}
h2 {
  font-size: 15px;
}
p {
  margin: 2px 0;
}
h1,
h2,
p,
span,
option,
li,
output {
  direction: ltr;
  unicode-bidi: isolate;
}
.quiet {
  color: var(--iopt-quiet);
}
.diverges {
  color: var(--iopt-wrong);
}
dl {
  display: flex;
  flex-wrap: wrap;
  gap: 4px 28px;
  margin: 10px 0 16px;
}
dl div {
  display: flex;
  flex-direction: column-reverse;
}
dt {
  color: var(--iopt-quiet);
  font-size: 12px;
}
dd {
  margin: 0;
  font-size: 17px;
  font-weight: 600;
}
.time {
  position: relative;
}
canvas {
  display: block;
  width: 100%;
  height: 230px;
  cursor: crosshair;
}
#cursor {
  position: absolute;
  top: 0;
  left: 150px;
  box-sizing: content-box;
  height: 230px;
  border-right: 2px solid var(--iopt-ink);
  background: color-mix(in srgb, var(--iopt-ink) 12%, transparent);
  pointer-events: none;
}
#time {
  display: block;
  width: calc(100% - 134px);
  margin: 4px -8px 8px 142px;
  accent-color: var(--iopt-accent);
}
.legend {
  margin: 0 0 10px 150px;
  font-size: 12px;
}
.refused {
  color: var(--iopt-refused);
}
.controls {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 8px;
  margin-bottom: 12px;
}
.controls label {
  margin-left: auto;
}
button,
select {
  padding: 4px 10px;
  border: 1px solid var(--iopt-line);
  border-radius: 6px;
  background: var(--iopt-hole);
  color: inherit;
  font: inherit;
}
select {
  max-width: 24rem;
}
:focus-visible {
  outline: 2px solid var(--iopt-accent);
  outline-offset: 2px;
}
#where {
  min-width: 15rem;
  font-variant-numeric: tabular-nums;
}
main {
  display: grid;
  grid-template-columns: minmax(0, 1fr) minmax(320px, 420px);
  gap: 24px;
}
#operation {
  min-height: 92px;
  padding: 8px 12px;
  border-left: 3px solid var(--iopt-line);
  background: var(--iopt-hole);
  overflow-wrap: anywhere;
}
#details {
  display: block;
  min-height: 42px;
  margin: 8px 0;
  overflow-wrap: anywhere;
}
#picture {
  overflow-x: auto;
}
#picture svg {
  display: block;
  max-width: 100%;
  min-width: 680px;
  height: auto;
}
.list {
  position: sticky;
  top: 12px;
  align-self: start;
}
.list header {
  display: flex;
  justify-content: space-between;
  align-items: center;
  margin-bottom: 8px;
}
#operations {
  position: relative;
  height: calc(100vh - 70px);
  min-height: 320px;
  overflow-y: auto;
  border: 1px solid var(--iopt-line);
  border-radius: 6px;
}
#rows {
  position: relative;
}
.operation {
  position: absolute;
  right: 0;
  left: 0;
  display: grid;
  grid-template-columns: 1fr auto;
  height: 46px;
  padding: 4px 10px;
  border-bottom: 1px solid var(--iopt-line);
  border-left: 4px solid transparent;
  font-size: 12.5px;
  cursor: pointer;
}
.operation span {
  overflow: hidden;
  white-space: nowrap;
  text-overflow: ellipsis;
}
.operation .call {
  color: var(--iopt-ink);
  grid-column: 1 / 3;
  font-family: ui-monospace, Menlo, Consolas, monospace;
  font-size: 12px;
}
.operation .answer,
.operation .line {
  color: var(--iopt-quiet);
}
.operation.diverges {
  border-left-color: var(--iopt-wrong);
}
.operation.diverges .answer {
  color: var(--iopt-wrong);
  font-weight: 600;
}
.operation.refused {
  border-left-color: var(--iopt-refused);
}
.operation.refused .answer {
  color: var(--iopt-refused);
}
.operation[aria-selected="true"] {
  background: var(--iopt-reserved);
}
@media (max-width: 900px) {
  main {
    grid-template-columns: minmax(0, 1fr);
  }
  #operations {
    height: 320px;
  }
  .legend {
    margin-left: 0;
  }
}
`;

/** What a content security policy calls them. */
export const REPORT_HASHES = {
  script: 'sha256-4JA7HN1Q/TGRckEEi2F3U9IENzqXMXwOQr1gveGBdnQ=',
  style: 'sha256-HicBkfejPrfdx6gHgPIvJOoC0EHzVgudr8Dvmb+o71E=',
} as const;

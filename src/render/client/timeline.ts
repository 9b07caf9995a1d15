/**
 * The space over time, on a canvas: time goes right, IOVA goes down.
 */
import type { RecordedSetting, RecordedStep } from '../../replay/recording.js';
import { COLOURS } from '../svg-style.js';
import { Axis, type Landmark, type Place } from './axis.js';
import type { Lifetime } from './history.js';

/** What the timeline shows of one space. */
export interface TimelineContents {
  readonly lifetimes: readonly Lifetime[];
  readonly settings: readonly RecordedSetting[];
  readonly steps: readonly RecordedStep[];
}

/** Whether a step failed in the log, in the model or in both. */
export function isRefused({ answered, diverges }: RecordedStep): boolean {
  return diverges || answered !== 'OK';
}

interface Places {
  readonly landmarks: readonly Landmark[];
  readonly areas: readonly Place[];
  readonly reserved: readonly Place[];
}

interface Box {
  readonly lifetime: Lifetime;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const GUTTER = 150;
const MARKS = 14;
const TEXT = 15;

/** Draws, and finds what is where. */
export class Timeline {
  readonly #canvas: HTMLCanvasElement;
  readonly #cursor: HTMLElement;
  readonly #places = new WeakMap<TimelineContents, Places>();
  #boxes: Box[] = [];
  #contents: TimelineContents = { lifetimes: [], settings: [], steps: [] };

  constructor(canvas: HTMLCanvasElement, cursor: HTMLElement) {
    this.#canvas = canvas;
    this.#cursor = cursor;
  }

  /** Shows other contents. */
  show(contents: TimelineContents): void {
    this.#contents = contents;
    this.draw();
  }

  /** Draws again, after the size or the colours have changed. */
  draw(): void {
    const { lifetimes, steps } = this.#contents;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = window.devicePixelRatio;
    this.#canvas.width = width * ratio;
    this.#canvas.height = height * ratio;
    const context = this.#canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.#canvas);
    const colour = (name: string) => style.getPropertyValue(`--iopt-${name}`);
    const plot = height - MARKS;
    context.fillStyle = colour('hole');
    context.fillRect(GUTTER, 0, width - GUTTER, plot);
    const { landmarks, areas, reserved } = this.#placesOf(this.#contents);
    const x = (time: number) => GUTTER + ((width - GUTTER) * time) / Math.max(1, steps.length);
    context.fillStyle = colour('reserved');
    for (const { from, to } of reserved) {
      context.fillRect(GUTTER, from * plot, width - GUTTER, Math.max(1, (to - from) * plot));
    }
    const colours = Array.from({ length: COLOURS }, (_, at) => colour(String(at)));
    this.#boxes = lifetimes.map((lifetime, at) => {
      const { from, to } = areas[at]!;
      // A step takes the width from the time before it, so that also the last one has some.
      const left = x(Math.max(0, lifetime.from - 1));
      const right = Math.max(left + 1, x(Math.min(steps.length, lifetime.to - 1)));
      return { lifetime, left, right, top: from * plot, bottom: Math.max(from * plot + 1, to * plot) };
    });
    for (const { lifetime, left, right, top, bottom } of this.#boxes) {
      context.fillStyle = colours[(lifetime.area.pages ?? 0) % COLOURS]!;
      const gap = bottom - top > 4 ? 1 : 0;
      context.fillRect(left, top, right - left, bottom - top - gap);
    }
    context.font = '11px ui-monospace, Menlo, Consolas, monospace';
    context.textAlign = 'right';
    context.fillStyle = colour('quiet');
    const labelled: number[] = [];
    for (const { iova, at } of landmarks) {
      const y = Math.max(at * plot + 4, 10);
      if (labelled.some((other) => Math.abs(other - y) < TEXT)) continue;
      context.fillText(`0x${iova.toString(16)}`, GUTTER - 8, y);
      labelled.push(y);
      if (labelled.length * TEXT > plot) break;
    }
    for (const [at, step] of steps.entries()) {
      if (!isRefused(step)) continue;
      context.fillStyle = colour(step.diverges ? 'wrong' : 'refused');
      const wide = Math.max(1.5, Math.min(8, x(1) - x(0)));
      context.fillRect((x(at) + x(at + 1) - wide) / 2, plot + 3, wide, MARKS - 4);
    }
  }

  /** Where everything is on the axis; found once for each contents, since there may be very much. */
  #placesOf(contents: TimelineContents): Places {
    const known = this.#places.get(contents);
    if (known !== undefined) return known;
    const areas = contents.lifetimes.map(({ area }) => ({
      first: BigInt(area.iova),
      last: BigInt(area.last),
    }));
    const reserved = contents.settings
      .flatMap((setting) => setting.reserved)
      .map(({ start, last }) => ({ first: BigInt(start), last: BigInt(last) }));
    const axis = new Axis([...areas, ...reserved]);
    const places = {
      landmarks: axis.landmarks,
      areas: areas.map((range) => axis.place(range)),
      reserved: reserved.map((range) => axis.place(range)),
    };
    this.#places.set(contents, places);
    return places;
  }

  /** Puts the cursor over the step before a time. */
  moveTo(time: number): void {
    const steps = Math.max(1, this.#contents.steps.length);
    const { style } = this.#cursor;
    style.left = `calc(${GUTTER}px + (100% - ${GUTTER}px) * ${Math.max(0, time - 1) / steps})`;
    style.width = time === 0 ? '0' : `calc((100% - ${GUTTER}px) / ${steps})`;
  }

  /** The time under the pointer. */
  timeAt({ offsetX }: MouseEvent): number {
    const { steps } = this.#contents;
    const part = (offsetX - GUTTER) / Math.max(1, this.#canvas.clientWidth - GUTTER);
    return Math.max(0, Math.min(steps.length, Math.ceil(part * steps.length)));
  }

  /** The area under the pointer. */
  areaAt({ offsetX, offsetY }: MouseEvent): Lifetime | undefined {
    return this.#boxes.find(
      ({ left, right, top, bottom }) =>
        offsetX >= left && offsetX < right && offsetY >= top && offsetY < bottom,
    )?.lifetime;
  }
}

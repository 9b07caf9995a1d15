/**
 * A replay kept as plain data, for reports that show an IOVA space over time.
 *
 * Everything in here can be put through JSON. Addresses are hex strings, bounds are inclusive. Names, calls and
 * reasons contain text from the log: whoever shows them escapes them.
 */
import type { DomainSnapshot, PagesSource, RangeSnapshot } from '../inspect/snapshot.js';
import type { Profile } from '../rules.js';

/** An area as a recording keeps it. */
export interface RecordedArea {
  /** First IOVA; no two areas of a space have the same at a time. */
  readonly iova: string;
  /** Last IOVA. */
  readonly last: string;
  /** What it is mapped from; absent where that is the memory of the process, as it mostly is. */
  readonly source?: Exclude<PagesSource, 'user'>;
  /** User address of the first byte, or its offset in the file or dma-buf. */
  readonly uptr: string;
  /** What devices may do: `''`, `'r'`, `'w'` or `'rw'`. */
  readonly prot: string;
  /** Areas with the same number show the same shared pages, in whatever space they are. */
  readonly pages: number;
}

/** A reserved range and whose it is. */
export interface RecordedReservation extends RangeSnapshot {
  readonly owner: string;
}

/** What a space has besides its areas. It changes seldom, so it is kept as a whole where it does. */
export interface RecordedSetting {
  readonly alignment: number;
  readonly reserved: readonly RecordedReservation[];
  readonly allowed: readonly RangeSnapshot[];
  readonly domains: readonly DomainSnapshot[];
}

/** An IOVA space of the log. */
export interface RecordedSpace {
  /** What steps call it. */
  readonly id: number;
  /** What the log calls it: `container 0x55b99d7b7d40`, `domain 0`, `ioas 2 of fd 19`. */
  readonly name: string;
  /** Its areas before the first kept step, in order of IOVA. */
  readonly areas: readonly RecordedArea[];
  /** Its setting before the first kept step. */
  readonly setting: RecordedSetting;
}

/** One operation of the log. */
export interface RecordedStep {
  /** Line of the log that has the answer, or the request where the log has no answers. */
  readonly line: number;
  /** `RecordedSpace.id` of the space it was made on; `null` if it is about none. */
  readonly space: number | null;
  /** The call: `unmap [0xff000000, 0xffffffff]`. */
  readonly call: string;
  /** The log's answer: `OK`, an errno, or in words. */
  readonly logged: string;
  /** The model's answer: `OK`, an errno, or in words. */
  readonly answered: string;
  /** Whether the two differ. */
  readonly diverges: boolean;
  /** Why the model answered so, a sentence without a full stop; absent where it agreed and succeeded. */
  readonly reason?: string;
  /** What could have been done instead, in words; for divergences where something is known. */
  readonly advice?: string;
  /** Pages pinned after it, in all spaces together; a page counts once for each pin. */
  readonly pinnedPages: number;
  /** First IOVAs of the areas that are gone after it (or are others now: then they are in `added` too). */
  readonly removed?: readonly string[];
  /** The areas that are new after it, in order of IOVA. */
  readonly added?: readonly RecordedArea[];
  /** The setting after it, if it changed. */
  readonly setting?: RecordedSetting;
}

/** The figures of a whole replay; bytes are hex strings. */
export interface RecordedFigures {
  readonly operations: number;
  readonly translations: number;
  readonly divergences: number;
  readonly malformed: number;
  readonly notReplayed: number;
  readonly peakAreas: number;
  readonly peakPinnedBytes: string;
  readonly largestHole: string;
  /** 0 … 1 */
  readonly fragmentation: number;
}

/**
 * A replay: the spaces as they were before the first kept step, and the kept steps.
 *
 * A recording is bounded: of a long log the last steps are kept, and what those before them did is in the areas
 * that the spaces begin with. The space after step n is its beginning with `removed` taken out and `added` put in,
 * step by step.
 */
export interface ReplayRecording {
  /** Version of this type. */
  readonly format: 1;
  /** What the log is called: a file name, or `standard input`. */
  readonly log: string;
  readonly profile: Profile;
  /** Operations before the first kept step. */
  readonly skipped: number;
  /** All spaces that a kept step is about or that had areas before the first one, by ascending id. */
  readonly spaces: readonly RecordedSpace[];
  readonly steps: readonly RecordedStep[];
  /** Diverging steps among those that were skipped, at most the first 1000, without what they changed. */
  readonly skippedDivergences: readonly RecordedStep[];
  readonly figures: RecordedFigures;
}

/** Replaying a trace operation by operation, with what reports want to know of each. */
import { IommuError, sentence } from '../../../errors.js';
import type { Explanation } from '../../../explain/explanation.js';
import type { ExplainRequest } from '../../../explain/request.js';
import type { Profile } from '../../../rules.js';
import { PAGE_SIZE } from '../../../u64.js';
import type { Divergence, ReplayFigures } from '../../figures.js';
import { measureHoles } from '../../holes.js';
import { type MalformedLine, malformed } from '../../log-line.js';
import type { RecordableStep } from '../../recorder.js';
import { MAPPED, type NamedSpace, type ReplayQuestion, unmappedAnswer } from '../../replay-space.js';
import { SpacesMeter } from '../../spaces-meter.js';
import { type OpenTrace, openTrace } from './open-trace.js';
import { TraceArguments } from './trace-arguments.js';
import {
  canonical,
  describeThrown,
  performTraceLine,
  readTraceLine,
  type TraceLine,
  type TraceOutcome,
} from './trace-line.js';
import { changedIova, changesSetting, TraceSpaces } from './trace-spaces.js';
import type { Answer } from './trace-target.js';
import { answerInWords, operationInWords } from './trace-words.js';

/** An answer that is not the recorded one. */
export interface TraceDivergence extends Omit<Divergence, 'reason'> {
  /** Why the model answered so, where it has a reason. */
  readonly reason?: string;
}

/** An operation of a trace with the model's answer. */
export interface TraceStep extends RecordableStep {
  readonly divergence?: TraceDivergence;
}

/** Whom a replay tells what it finds. */
export interface TraceListener {
  readonly onDivergence?: (divergence: TraceDivergence) => void;
  /** Called for each line that is no operation. */
  readonly onMalformed?: (line: MalformedLine) => void;
  /** Called for each IOVA space that ends before the trace does, or with it. */
  readonly onSpaceEnd?: (space: NamedSpace) => void;
}

const PAGE = BigInt(PAGE_SIZE);

/** Replays a trace line by line, in bounded memory. */
export class TraceReplayer {
  readonly #trace: OpenTrace;
  readonly #listener: TraceListener;
  readonly #spaces: TraceSpaces;
  readonly #meter = new SpacesMeter();
  readonly #newSettings = new Set<NamedSpace>();
  #operations = 0;
  #divergences = 0;
  #malformed = 0;
  #peakPinnedPages = 0;

  /**
   * @param header - the first line
   * @param profile - on whose model it is replayed; by default on that of the kernel that it was recorded on
   * @throws SyntaxError or TraceError if it is no header, or of something that is not known
   */
  constructor(header: string, listener: TraceListener = {}, profile?: Profile) {
    this.#trace = openTrace(header, { profile });
    this.#listener = listener;
    const { target } = this.#trace;
    this.#spaces = new TraceSpaces((ioas) => target.table(ioas));
  }

  /** Whose behaviour the model has. */
  get model(): Profile {
    return this.#trace.profile;
  }

  /** Whose behaviour was recorded. */
  get profile(): Profile {
    return this.#trace.header.profile;
  }

  /** The first user address that has memory, if one has. */
  get userAddress(): bigint | undefined {
    const [region] = this.#trace.header.memory;
    return region === undefined ? undefined : BigInt(region.uptr);
  }

  /** Pages that are pinned now; a page counts once for each pin. */
  get pinnedPages(): number {
    return this.#trace.process.memory.physical.pinned;
  }

  /** The IOVA spaces that there are now. */
  *spaces(): Generator<NamedSpace, void, undefined> {
    yield* this.#spaces;
  }

  /** Performs the operation of a line; `undefined` if it is none. */
  async apply(text: string, line: number): Promise<TraceStep | undefined> {
    let read: TraceLine;
    let outcome: TraceOutcome;
    let before: NamedSpace | undefined;
    let holes: ReturnType<typeof measureHoles> | undefined;
    try {
      read = readTraceLine(text);
      before = this.#spaces.about(read.operation, { ...read.fields });
      if (read.operation === 'ioas_destroy') holes = before && measureHoles(before.table.snapshot());
      outcome = await performTraceLine(this.#trace.target, read);
    } catch (error) {
      this.#malformed += 1;
      this.#listener.onMalformed?.(malformed(line, text, describeThrown(error)));
      return undefined;
    }
    const step = this.#stepOf(line, read, outcome, before);
    if (holes !== undefined && outcome.error === undefined) this.#end(before!, holes);
    if (step.divergence !== undefined) {
      this.#divergences += 1;
      this.#listener.onDivergence?.(step.divergence);
    }
    return step;
  }

  #stepOf(
    line: number,
    read: TraceLine,
    { got, error }: TraceOutcome,
    before: NamedSpace | undefined,
  ): TraceStep {
    const fields = { ...read.fields };
    const operation = operationInWords(read.operation, fields);
    if (error === undefined) this.#spaces.note(read.operation, fields);
    const space = before ?? this.#spaces.about(read.operation, fields);
    this.#operations += 1;
    this.#peakPinnedPages = Math.max(this.#peakPinnedPages, this.pinnedPages);
    if (space !== undefined) {
      this.#meter.look(space);
      if (error === undefined && changesSetting(read.operation)) this.#newSettings.add(space);
    }
    const changed = got === undefined ? undefined : changedIova(read, got);
    const because = becauseOf(read.operation, got, error);
    const step = { line, operation, space, changed };
    if (got !== undefined && canonical(got) === canonical(read.expected)) {
      const code = String(got.errno);
      return { ...step, logged: code, answer: { code, whole: answerInWords(got), because, error } };
    }
    const logged = answerInWords(read.expected);
    const answered = got === undefined ? describeThrown(error) : answerInWords(got);
    const reason = got?.errno === read.expected.errno ? undefined : because;
    return {
      ...step,
      logged,
      answer: { code: answered, because: reason, error },
      divergence: { line, operation, logged, answered, ...(reason === undefined ? {} : { reason }) },
    };
  }

  /**
   * The operation of a line as a question that the space it is about can be asked (`IoPagetable.explain`), if it is one
   * that can. Nothing is performed.
   */
  question(text: string): ReplayQuestion | undefined {
    try {
      const { operation, fields } = readTraceLine(text);
      const space = this.#spaces.about(operation, { ...fields });
      const request = space && this.#request(operation, new TraceArguments(fields));
      return request && space && { space, request };
    } catch {
      // What is no operation is told when it is performed.
      return undefined;
    }
  }

  #request(operation: string, fields: TraceArguments): ExplainRequest | undefined {
    switch (operation) {
      case 'map':
      case 'vfio_map':
        return { call: 'map', ...fields.mapping() };
      case 'copy': {
        const from = this.#spaces.named(fields.text('src'))?.table;
        return from === undefined ? undefined : { call: 'copy', from, ...fields.copying() };
      }
      case 'unmap':
        return { call: 'unmap', ...fields.iovaRange() };
      case 'access_pin':
        return { call: 'access', ...fields.iovaRange(), write: fields.flag('write') };
      default:
        return undefined;
    }
  }

  /** What the model would do with the operation of a line now; `undefined` if it cannot be asked. */
  async explain(text: string): Promise<Explanation | undefined> {
    const question = this.question(text);
    return await question?.space.table.explain(question.request);
  }

  /** Whether what a space has besides its areas has changed since this was last asked. */
  settingChanged(space: NamedSpace): boolean {
    return this.#newSettings.delete(space);
  }

  /** Ends the trace: all spaces are measured and emptied. */
  async finish(): Promise<ReplayFigures> {
    for (const space of this.#spaces) this.#end(space, measureHoles(space.table.snapshot()));
    await this.#trace.target.close();
    return {
      requests: this.#operations,
      translations: 0,
      misses: 0,
      divergences: this.#divergences,
      malformed: this.#malformed,
      notReplayed: 0,
      peakPinnedBytes: BigInt(this.#peakPinnedPages) * PAGE,
      ...this.#meter.figures,
    };
  }

  #end(space: NamedSpace, holes: ReturnType<typeof measureHoles>): void {
    this.#meter.end(space, holes);
    this.#newSettings.delete(space);
    this.#listener.onSpaceEnd?.(space);
  }
}

function becauseOf(operation: string, got: Answer | undefined, error: unknown): string | undefined {
  if (error instanceof IommuError) return sentence(error.reason);
  if (got === undefined || error !== undefined) return undefined;
  if (operation === 'unmap') return unmappedAnswer(BigInt(`${got.unmapped}`)).because;
  return operation === 'map' || operation === 'map_file' || operation === 'vfio_map'
    ? MAPPED.because
    : undefined;
}

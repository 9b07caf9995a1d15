/** The format of conformance traces: JSON lines, the first of which says what was recorded and how. */

import type { Profile } from '../../../rules.js';
import { LogError } from '../../log-error.js';
import type { LogAction, LogListener, RecordingFormat } from '../../log-run.js';
import { TraceReplayer } from './trace-replayer.js';

/** A recording of calls with all their answers. */
export const TRACE_FORMAT: RecordingFormat = {
  begins: (first) => first.startsWith('{'),

  open(name, header, lines, { profile, anyProfile, lockedLimit }, listener) {
    const replayer = openTrace(name, header, listener, anyProfile === true ? profile : undefined);
    if (profile !== undefined && profile !== replayer.model) {
      const recorded = `${name} was recorded under ${replayer.profile}`;
      throw new LogError('ERR_LOG_OPTIONS', `${recorded}; --profile ${profile} cannot change that`);
    }
    if (lockedLimit !== undefined) {
      const says = 'is a conformance trace, which says itself how much may be locked';
      throw new LogError('ERR_LOG_OPTIONS', `${name} ${says}`);
    }
    const { userAddress } = replayer;
    return { profile: replayer.model, userAddress, actions: actionsOf(replayer, lines), replayer };
  },
};

async function* actionsOf(
  replayer: TraceReplayer,
  lines: AsyncIterable<string>,
): AsyncGenerator<LogAction, void, undefined> {
  let line = 1;
  for await (const text of lines) {
    line += 1;
    const at = line;
    yield {
      line: at,
      announcedOnLine: undefined,
      run: () => replayer.apply(text, at),
      question: async () => replayer.question(text),
      explain: () => replayer.explain(text),
    };
  }
}

function openTrace(
  name: string,
  header: string,
  listener: LogListener,
  profile: Profile | undefined,
): TraceReplayer {
  try {
    return new TraceReplayer(header, listener, profile);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new LogError(
      'ERR_LOG_FORMAT',
      `${name} begins with {, but not as a conformance trace does: ${why}`,
    );
  }
}

/**
 * `iopt explain`: what a call would do at a point of a log, and why.
 */
import { parseArgs } from 'node:util';
import { RadixDomain } from '../domain/radix-domain.js';
import type { ExplainRequest } from '../explain/request.js';
import { type Protection, protectionBits, protectionName } from '../protection.js';
import { printable } from '../render/index.js';
import type { NamedSpace } from '../replay/index.js';
import { LOG_OPTIONS, readAddress, readCount, readLogOptions } from './option-values.js';
import { jsonText } from './replay-output.js';
import { questionOn, spaceNamed, stoppedAfter } from './space-after.js';
import { EXIT, type Terminal, UsageError } from './terminal.js';

/** Runs the command and gives its exit status. @throws UsageError */
export async function explainCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...LOG_OPTIONS,
      log: { type: 'string' },
      line: { type: 'string' },
      space: { type: 'string' },
    },
  });
  const { log } = values;
  if (log === undefined) throw new UsageError('iopt explain needs --log');
  const part = { log, ...readLogOptions(values) };
  let space: NamedSpace | undefined;
  let request: ExplainRequest;
  if (values.line === undefined) {
    // Arguments are looked at before a log that may be long.
    const requestOn = readCall(positionals);
    const { spaces, last, userAddress } = await stoppedAfter(part, terminal);
    space = values.space === undefined ? last : spaceNamed(values.space, spaces);
    if (space === undefined) throw new UsageError(`${log} leaves no IOVA space`);
    request = requestOn(space, userAddress);
  } else {
    if (positionals.length > 0) throw new UsageError('--line takes the call from the log');
    ({ space, request } = await questionOn(readCount(values.line, '--line', 1), part, terminal));
  }
  const explanation = await space.table.explain(request);
  await terminal.out(
    values.json
      ? jsonText({ space: space.name, ...explanation })
      : printable(`${space.name}: ${explanation.text}`).concat('\n'),
  );
  return explanation.ok ? EXIT.AGREES : EXIT.DIFFERS;
}

/**
 * Reads the call. What it is made on comes later, and where a map takes its memory from if the call doesn't say.
 *
 * @throws UsageError
 */
function readCall(words: readonly string[]): (space: NamedSpace, userAddress: bigint) => ExplainRequest {
  const [call, ...rest] = words;
  switch (call) {
    case 'map': {
      const [iova, length, uptr, prot] = take(rest, 'map IOVA|auto LENGTH [USER_ADDRESS [PROT]]', 2, 4);
      const request = {
        call,
        ...readPlace(iova!),
        length: readAddress(length!, 'LENGTH'),
        prot: readProtection(prot),
      } as const;
      const source = uptr === undefined ? undefined : readAddress(uptr, 'USER_ADDRESS');
      return (_, userAddress) => ({ ...request, uptr: source ?? userAddress });
    }
    case 'unmap': {
      const [iova, length] = take(rest, 'unmap IOVA LENGTH', 2, 2);
      const request = {
        call,
        iova: readAddress(iova!, 'IOVA'),
        length: readAddress(length!, 'LENGTH'),
      } as const;
      return () => request;
    }
    case 'copy': {
      const [source, length, iova, prot] = take(rest, 'copy IOVA LENGTH TO|auto [PROT]', 3, 4);
      const request = {
        call,
        srcIova: readAddress(source!, 'IOVA'),
        length: readAddress(length!, 'LENGTH'),
        ...readPlace(iova!),
        prot: readProtection(prot),
      } as const;
      return ({ table }) => ({ ...request, from: table });
    }
    case 'access': {
      const [iova, length, prot] = take(rest, 'access IOVA LENGTH [r|rw]', 2, 3);
      const request = {
        call,
        iova: readAddress(iova!, 'IOVA'),
        length: readAddress(length!, 'LENGTH'),
        write: prot !== undefined && readProtection(prot).includes('w'),
      } as const;
      return () => request;
    }
    case 'domain': {
      const [sizes, first, last] = take(rest, 'domain [PAGE_SIZE,… [FIRST LAST]]', 0, 3);
      if (first !== undefined && last === undefined) throw new UsageError('domain: FIRST without LAST');
      const domain = readDomain(sizes, first, last);
      return () => ({ call: 'addDomain', domain });
    }
    default:
      throw new UsageError(
        `iopt explain takes --line, or a call: map, unmap, copy, access or domain${call === undefined ? '' : `, not ${call}`}`,
      );
  }
}

function take(words: readonly string[], form: string, least: number, most: number): readonly string[] {
  if (words.length < least || words.length > most) throw new UsageError(`the form is: ${form}`);
  return words;
}

function readPlace(text: string): { readonly iova?: bigint } {
  return text === 'auto' ? {} : { iova: readAddress(text, 'IOVA') };
}

function readProtection(text = 'rw'): Protection {
  const bits = protectionBits(text);
  if (bits === undefined || bits === 0) throw new UsageError(`PROT is r, w or rw, not ${text}`);
  return protectionName(bits);
}

function readDomain(
  sizes: string | undefined,
  first: string | undefined,
  last: string | undefined,
): RadixDomain {
  try {
    return new RadixDomain({
      ...(sizes === undefined
        ? {}
        : { pageSizes: sizes.split(',').map((size) => readAddress(size, 'PAGE_SIZE')) }),
      ...(first === undefined || last === undefined
        ? {}
        : { aperture: { start: readAddress(first, 'FIRST'), last: readAddress(last, 'LAST') } }),
    });
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    throw error;
  }
}

/**
 * The command line: which command, and what happens when it goes wrong.
 */
import { readFile } from 'node:fs/promises';
import { LogError } from '../replay/index.js';
import { PROFILE_NAMES } from '../rules.js';
import { diffCommand } from './diff-command.js';
import { explainCommand } from './explain-command.js';
import { mapCommand } from './map-command.js';
import { type HtmlReport, replayCommand } from './replay-command.js';
import { complain, EXIT, type Terminal, UsageError } from './terminal.js';

const HELP = `Replays the logs of VMMs on a model of the Linux IOMMU page table (io_pagetable).

  iopt replay [OPTION…] [LOG…]   compare every answer in the logs with the model's
  iopt diff --from PROFILE [--to PROFILE] [LOG]   say which answers of the log another kernel would give differently
  iopt map [OPTION…] [LOG]       draw the IOVA spaces as the log leaves them
  iopt explain --log LOG CALL    say what a call would do there, and why
  iopt explain --log LOG --line N   say it of the call on a line of the log

A LOG is a file, also gzip-compressed, or - for standard input (the default, if it is no terminal): trace events
iommufd_* or virtio_iommu_* of QEMU, its vfio_dma_map and vfio_dma_unmap messages, mixed with anything else; or a
conformance trace (JSON lines), which says itself whose behaviour it is and how much may be locked.

  --profile NAME   whose behaviour: ${PROFILE_NAMES.join(', ')} (default: ${PROFILE_NAMES[0]}, the newest)
  --until LINE     read no further than this line
  --memlock BYTES  how much memory the VMM may lock (default: no limit)
  --json           print JSON; 64-bit values are hex strings

replay:
  --max N          show at most N divergences and N lines that cannot be read (default 20)
  --stop           end at the first divergence
  --html FILE      write a report with the IOVA space over time
  --quiet          print nothing: the exit status tells

diff:
  --from NAME      the kernel that the VMM runs on now
  --to NAME        the kernel that it shall run on (default: ${PROFILE_NAMES[0]})
  --max N, --quiet   as for replay

map:
  --space NAME     only the space with this name, or this in its name
  --rows N         at most N rows a space

explain:
  --space NAME     the space to ask (default: the one used last)
  CALL             map IOVA|auto LENGTH [USER_ADDRESS [PROT]]
                   unmap IOVA LENGTH
                   copy IOVA LENGTH TO|auto [PROT]
                   access IOVA LENGTH [r|rw]
                   domain [PAGE_SIZE,… [FIRST LAST]]
                   Addresses and lengths may end in K, M, G or T.

Exit status: 0 the answers agree, the call would succeed; 1 they differ, it would fail; 2 wrong usage, or a log that
cannot be read.
`;

/** Parts that are not always there. */
export interface MainOptions {
  /** What writes reports for `--html`. */
  readonly html?: HtmlReport | undefined;
}

/** Runs the command line and gives the exit status. */
export async function main(
  args: readonly string[],
  terminal: Terminal,
  { html }: MainOptions = {},
): Promise<number> {
  const [command, ...rest] = args;
  try {
    switch (command) {
      case 'replay':
        return await replayCommand(rest, terminal, html);
      case 'diff':
        return await diffCommand(rest, terminal);
      case 'map':
        return await mapCommand(rest, terminal);
      case 'explain':
        return await explainCommand(rest, terminal);
      case '--help':
      case '-h':
      case 'help':
        await terminal.out(HELP);
        return EXIT.AGREES;
      case '--version':
        await terminal.out(`${await version()}\n`);
        return EXIT.AGREES;
      default:
        throw new UsageError(command === undefined ? 'no command' : `there is no command ${command}`);
    }
  } catch (error) {
    const message = usageMessage(error);
    if (message === undefined) throw error;
    complain(terminal, message);
    return EXIT.BAD_USAGE;
  }
}

/** What is wrong with the usage, or with what was to be read; `undefined` for other errors. */
function usageMessage(error: unknown): string | undefined {
  if (error instanceof UsageError || error instanceof LogError) return error.message;
  if (!(error instanceof TypeError) || !('code' in error)) return undefined;
  return String(error.code).startsWith('ERR_PARSE_ARGS_') ? error.message : undefined;
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  const { version }: { version: string } = JSON.parse(text);
  return version;
}

#!/usr/bin/env node
/**
 * The program `iopt`.
 */
import { once } from 'node:events';
import { renderHtml } from '../render/index.js';
import { main } from './main.js';
import { EXIT, type Terminal } from './terminal.js';

const { stdin, stdout, stderr } = process;

// Whoever reads the output may have seen enough of it, as in `iopt replay LOG | head`.
stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT.AGREES : EXIT.BAD_USAGE);
});

const terminal: Terminal = {
  input: stdin,
  inputIsTerminal: stdin.isTTY === true,
  async out(text) {
    if (!stdout.write(text)) await once(stdout, 'drain');
  },
  err(text) {
    stderr.write(text);
  },
  errColumns: stderr.isTTY === true ? stderr.columns : undefined,
};

try {
  process.exitCode = await main(process.argv.slice(2), terminal, { html: renderHtml });
} catch (error) {
  // A defect, of which Node would say 1: that means that the log differs.
  console.error(error);
  process.exitCode = EXIT.BAD_USAGE;
}

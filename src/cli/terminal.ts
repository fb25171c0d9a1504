/** Where the command line writes: results to standard output, words about them to standard error. Tests put a recorder in its place. */

import { painter, type Paint } from './colour.ts';

export interface Terminal {
  /** Standard output is a screen on which a line can be written over. */
  readonly live: boolean;
  /** Width of that screen. */
  readonly columns: number;
  readonly paint: Paint;
  /** Standard output, as it is. */
  write(text: string): void;
  /** Standard error, as it is. */
  writeError(text: string): void;
}

/** The terminal of this process. A reader that goes away (`fulltune … | head`) stops the output, not the work. */
export function processTerminal(): Terminal {
  let open = true;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    open = false;
  });
  return {
    live: process.stdout.isTTY && process.stdout.columns > 0,
    get columns() {
      return process.stdout.columns ?? 80;
    },
    paint: painter({ isTerminal: process.stdout.isTTY }),
    write: (text) => {
      if (open) process.stdout.write(text);
    },
    writeError: (text) => {
      process.stderr.write(text);
    },
  };
}

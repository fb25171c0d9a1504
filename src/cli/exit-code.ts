/** What a failure prints and which code the process ends with: 2 for the user's mistakes, 1 for bugs; 75 for a run that made room. */

import { FulltuneError } from '../base/errors.ts';
import type { Terminal } from './terminal.ts';

export const USER_MISTAKE = 2;
export const BUG = 1;
/** Others took the memory and a checkpoint is written: try again later, or with less (EX_TEMPFAIL of sysexits.h). */
export const OUT_OF_MEMORY = 75;

/** A rank of a run on PyTorch died or hung: the machine's doing, more often than not (EX_UNAVAILABLE of sysexits.h). */
export const RANK_LOST = 69;

/** Prints `error` on standard error and gives the exit code. */
export function reportError(error: unknown, terminal: Pick<Terminal, 'writeError'>): number {
  if (error instanceof FulltuneError) {
    terminal.writeError(`${error.toText()}\n`);
    return error.code === 'E_RANK' ? RANK_LOST : USER_MISTAKE;
  }
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  terminal.writeError(`${text}\nThis is a bug in fulltune: please report it, with these lines and the command.\n`);
  return BUG;
}

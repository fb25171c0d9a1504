/**
 * One process per run directory. The lock is a file that names its holder; one whose holder no longer runs is taken over. It guards against
 * a second start by mistake on one machine; it cannot see processes of other machines or containers.
 */

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { FulltuneError } from '../base/errors.ts';
import { fileError, systemCode } from './fs-errors.ts';
import { isSameProcess, processIdentity, type ProcessIdentity } from './processes.ts';

export const LOCK_FILE = '.lock';

export interface RunLock {
  readonly path: string;
  /** Safe to call twice. */
  release(): void;
}

/** Throws E_RUN when another run, in this process or another one, holds the directory. */
export function lockRun(directory: string): RunLock {
  const path = join(directory, LOCK_FILE);
  const aside = join(directory, `${LOCK_FILE}.${process.pid}`);
  const mine = JSON.stringify(processIdentity(process.pid));
  try {
    writeFileSync(aside, mine);
    // A link appears with its content or not at all; a second try follows after a stale lock has been moved away.
    if (!tryLink(aside, path)) {
      takeAway(path, directory);
      if (!tryLink(aside, path)) throw held(directory, undefined);
    }
  } catch (error) {
    throw fileError(error, 'write', path);
  } finally {
    rmSync(aside, { force: true });
  }
  let released = false;
  return {
    path,
    release: () => {
      if (released) return;
      released = true;
      rmSync(path, { force: true });
    },
  };
}

/** Throws E_RUN when a running process holds the directory; takes nothing. */
export function checkUnlocked(directory: string): void {
  const holder = readHolder(join(directory, LOCK_FILE));
  if (holder !== undefined && isSameProcess(holder)) throw held(directory, holder);
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Moves a stale lock away; throws E_RUN when its holder runs. */
function takeAway(path: string, directory: string): void {
  checkUnlocked(directory);
  const stale = `${path}.stale-${process.pid}`;
  try {
    renameSync(path, stale);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return; // released meanwhile
    throw error;
  }
  // Another process may have taken the stale lock over between the look and the move: then it goes back.
  const moved = readHolder(stale);
  if (moved !== undefined && isSameProcess(moved)) {
    tryLink(stale, path);
    rmSync(stale, { force: true });
    throw held(directory, moved);
  }
  rmSync(stale, { force: true });
}

/** Undefined when there is no lock, or one that cannot be read as such: after a power loss it may be empty. */
function readHolder(path: string): ProcessIdentity | undefined {
  try {
    const json: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof json !== 'object' || json === null || !('pid' in json) || typeof json.pid !== 'number') return undefined;
    return { pid: json.pid, started: 'started' in json && typeof json.started === 'string' ? json.started : null };
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function held(directory: string, holder: ProcessIdentity | undefined): FulltuneError {
  const who = holder === undefined ? 'another process' : holder.pid === process.pid ? 'this very process' : `process ${holder.pid}`;
  return new FulltuneError('E_RUN', `'${directory}' is in use: ${who} is training there`, {
    where: join(directory, LOCK_FILE), remedy: 'Wait for it or stop it, or use another --output-dir.',
  });
}

/**
 * Where tokenised datasets are kept between runs: files named by the content that made them, in the user's cache folder. What nobody made
 * anew for a month is thrown away.
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env } from '../base/debug.ts';

const KEPT_MS = 30 * 24 * 3600 * 1000;

/** The folder, made if need be; one of this process alone where the cache cannot be written. */
export function tokenCache(now: number = Date.now()): string {
  const folder = join(env.cacheFolder, 'fulltune', 'tokens');
  try {
    mkdirSync(folder, { recursive: true });
    prune(folder, now - KEPT_MS);
    return folder;
  } catch {
    return mkdtempSync(join(tmpdir(), 'fulltune-'));
  }
}

function prune(folder: string, olderThan: number): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (modified !== undefined && modified < olderThan) rmSync(path, { force: true });
  }
}

/** What the operating system says, as errors that a user can act on. */

import { isAbsolute } from 'node:path';
import { FulltuneError } from '../base/errors.ts';

/** `ENOENT`, `ENOSPC`, …, or undefined when `error` does not come from the file system. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

const FULL: Readonly<Record<string, string>> = {
  ENOSPC: 'no room is left on the disk',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file is larger than the file system or the limit of this process allows',
};

const DENIED: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of the path is not a folder',
  EISDIR: 'it is a folder',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ELOOP: 'its symbolic links form a circle',
  ENAMETOOLONG: 'the name is too long',
  EIO: 'the disk reports an input/output error',
};

/** What to say where nothing is found at `path`: a relative one may have been meant from another folder. */
export function lookedFor(path: string): string {
  return isAbsolute(path) ? 'Check the spelling.' : `Check the spelling; it was looked for in ${process.cwd()}.`;
}

/**
 * E_DISK when the disk is full, E_FILE for other failures that the user can mend; anything else comes back as it is, for it is a bug.
 * `doing` completes "cannot …": `write`, `read`.
 */
export function fileError(error: unknown, doing: string, path: string): unknown {
  const code = systemCode(error);
  if (code === undefined || error instanceof FulltuneError) return error;
  const full = FULL[code];
  if (full !== undefined) {
    return new FulltuneError('E_DISK', `cannot ${doing} '${path}': ${full} (${code})`, {
      where: path,
      remedy: 'Free room on that disk, or use --output-dir on another one; what was complete before is untouched.',
      cause: error,
    });
  }
  const denied = DENIED[code];
  if (denied === undefined) return error;
  const mendable = code === 'ENOTDIR' || doing === 'write' || doing === 'create';
  return new FulltuneError('E_FILE', `cannot ${doing} '${path}': ${denied} (${code})`, {
    where: path, cause: error, ...(mendable ? { remedy: 'Use another folder, or change what stands in the way.' } : {}),
  });
}

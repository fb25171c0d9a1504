/** Room on disk, asked before step 1, so that no run dies at its tenth checkpoint. */

import { statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { fileError, systemCode } from './fs-errors.ts';

/** Bytes that this user may still write on the disk of `folder`, which need not exist yet. */
export function freeDiskBytes(folder: string): number {
  for (let at = resolve(folder); ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || dirname(at) === at) throw fileError(error, 'read the free space of', at);
    }
  }
}

/**
 * Throws E_DISK when `folder` has room for less than `neededBytes`. `what` says what needs it: `3 checkpoints of 1.2 GiB and the model`.
 * While a checkpoint is replaced by a newer one both exist, so count save_total_limit + 1.
 */
export function checkDiskSpace(
  folder: string, neededBytes: number, what: string, options: { readonly freeBytes?: (folder: string) => number } = {},
): void {
  const free = (options.freeBytes ?? freeDiskBytes)(folder);
  if (free >= neededBytes) return;
  throw new FulltuneError('E_DISK', `${what} need ${formatBytes(neededBytes)} on disk, but '${folder}' has room for ${formatBytes(free)}`, {
    where: folder,
    remedy: `Free ${formatBytes(neededBytes - free)} there, use --output-dir on another disk, or keep fewer checkpoints with --save-total-limit 1.`,
  });
}

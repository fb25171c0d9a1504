/** Refuses an arena for which there is not enough memory, before a page of it is touched: the system would not refuse, but kill. */

import { formatBytes, MIB } from '../../base/bytes.ts';
import { FulltuneError } from '../../base/errors.ts';
import type { FreeMemory } from './free-memory.ts';

/** The system's own tables, which count against a container's limit: 8 bytes per page of 4 KiB. */
const PAGES_PER_TABLE_BYTE = 512;
/** What must be left to work with: programs, staging buffers and pages of a checkpoint on their way to the disk. */
const WORKING_BYTES = 64 * MIB;

/** Throws E_BUDGET with all figures. */
export function requireMemory(arenaBytes: number, free: FreeMemory): void {
  const tables = Math.ceil(arenaBytes / PAGES_PER_TABLE_BYTE);
  const needed = arenaBytes + tables + WORKING_BYTES;
  if (needed <= free.bytes) return;
  throw new FulltuneError(
    'E_BUDGET',
    `the run needs ${formatBytes(needed)} (arena ${formatBytes(arenaBytes)}, page tables ${formatBytes(tables)}, ${formatBytes(WORKING_BYTES)} to work with); ` +
      `${free.holder} has ${formatBytes(free.bytes)} free of ${formatBytes(free.totalBytes)}`,
    { remedy: 'Stop other programs, or use a smaller --per-device-train-batch-size or --max-length.' },
  );
}

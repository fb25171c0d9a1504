/**
 * Whether others are taking the memory away: looked at while a run is under way, whose own need was met before its first step (the arena is
 * prefaulted), so that what shrinks afterwards is not ours.
 */

import { join } from 'node:path';
import { formatBytes, MIB } from '../../base/bytes.ts';
import { controlGroups, freeMemory, readText, type ReadFile } from './free-memory.ts';

export type MemoryPressure =
  | { readonly kind: 'calm' }
  /** `reason` is a sentence's beginning: `the container has 120.0 MiB free of 4.00 GiB`. */
  | { readonly kind: 'pressure'; readonly reason: string; readonly freeBytes: number };

/** Pages of a checkpoint on their way to the disk and its buffers: with less it could not be written. */
const CHECKPOINT_BYTES = 64 * MIB;
/** From about here the system drops the pages of running programs and reads them again, and a moment later it kills. */
const LOW_SHARE = 0.02;
const LOW_BYTES = 256 * MIB;
/** Of ten seconds, the share in which nobody got anything done for want of memory. Healthy machines show 0; thrashing ones 20 and more. */
const STALLED_PERCENT = 10;
const STALLED_LOOKS = 2;
/** Stalls count only when memory is scarce too: writing a large file into a full page cache makes them as well, harmlessly. */
const SCARCE = 4;

const CALM: MemoryPressure = { kind: 'calm' };

/**
 * A function that looks once, a tenth of a millisecond. Where the system has none of the files (MemAvailable, control groups, pressure stall
 * information) it finds calm. `leftBytes` is what the run, as planned, leaves free: one that leaves little is not stopped for that.
 */
export function pressureGauge(leftBytes: number, read: ReadFile = readText): () => MemoryPressure {
  let stalledLooks = 0;
  return () => {
    if (read('/proc/meminfo') === undefined) return CALM;
    const free = freeMemory(read);
    const lowBytes = Math.max(CHECKPOINT_BYTES, Math.min(leftBytes / 2, Math.max(LOW_SHARE * free.totalBytes, LOW_BYTES)));
    const left = `${free.holder} has ${formatBytes(free.bytes)} free of ${formatBytes(free.totalBytes)}`;
    if (free.bytes < lowBytes) return { kind: 'pressure', reason: left, freeBytes: free.bytes };
    const stalled = stalledPercent(read);
    stalledLooks = stalled >= STALLED_PERCENT && free.bytes < SCARCE * lowBytes ? stalledLooks + 1 : 0;
    if (stalledLooks < STALLED_LOOKS) return CALM;
    return { kind: 'pressure', reason: `everything stood still for ${stalled.toFixed(0)} % of ten seconds for want of memory, ${left}`, freeBytes: free.bytes };
  };
}

/**
 * Pressure stall information, `full avg10` in per cent: of the machine or of a group around this process, whichever is worse. `full` means that all
 * tasks waited, our compute threads among them; `some` rises already when one other program does.
 */
function stalledPercent(read: ReadFile): number {
  const groups = controlGroups(read).filter(({ version }) => version === 2).map(({ folder }) => join(folder, 'memory.pressure'));
  return Math.max(0, ...['/proc/pressure/memory', ...groups].map((path) => Number(/^full avg10=([\d.]+)/m.exec(read(path) ?? '')?.[1] ?? 0)));
}

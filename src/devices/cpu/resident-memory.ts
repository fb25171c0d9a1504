/** How much memory this process holds and has held at most, as the operating system counts it. */

import { KIB } from '../../base/bytes.ts';
import { readText, type ReadFile } from './free-memory.ts';

const STATUS = '/proc/self/status';

/**
 * The most that was ever resident, bytes: VmHWM. Elsewhere than on Linux getrusage's figure, which a process may inherit from the one that
 * started it.
 */
export function peakResidentBytes(read: ReadFile = readText): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(read(STATUS) ?? '')?.[1];
  return (kilobytes === undefined ? process.resourceUsage().maxRSS : Number(kilobytes)) * KIB;
}

/** How much memory this process holds and has held at most, as the operating system counts it. */

import { readFileSync } from 'node:fs';
import { KIB } from '../../base/bytes.ts';

const STATUS = '/proc/self/status';

/**
 * The most that was ever resident, bytes: VmHWM. Elsewhere than on Linux getrusage's figure, which a process may inherit from the one that
 * started it. `read` returns a file's text or undefined; tests give their own.
 */
export function peakResidentBytes(read: (path: string) => string | undefined = readText): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(read(STATUS) ?? '')?.[1];
  return (kilobytes === undefined ? process.resourceUsage().maxRSS : Number(kilobytes)) * KIB;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // not on this system
  }
}

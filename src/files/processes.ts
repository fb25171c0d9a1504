/** Which process left something behind, and whether it still runs. Process ids are used again, so the start time belongs to them. */

import { readFileSync } from 'node:fs';

import { systemCode } from './fs-errors.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Boot id and ticks since boot; null where the system does not tell (then the pid alone must do). */
  readonly started: string | null;
}

/** Of a running process, or undefined when there is none with this pid. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  if (!isRunning(pid)) return undefined;
  return { pid, started: startTime(pid) };
}

export function isRunning(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM'; // it runs, as another user
  }
}

/** Whether the process that wrote `identity` still runs. */
export function isSameProcess(identity: ProcessIdentity): boolean {
  const now = processIdentity(identity.pid);
  return now !== undefined && (now.started === null || identity.started === null || now.started === identity.started);
}

function startTime(pid: number): string | null {
  if (process.platform !== 'linux') return null;
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the name in field 2 may hold spaces and brackets, so count from the last bracket (proc(5)).
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return ticks === undefined ? null : `${boot}:${ticks}`;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return null;
  }
}

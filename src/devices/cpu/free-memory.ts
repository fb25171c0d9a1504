/** How much memory the machine has free for us: the system's own estimate, and what the control group (a container's limit) leaves. */

import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join } from 'node:path';

const MEMINFO = '/proc/meminfo';

export interface FreeMemory {
  readonly bytes: number;
  /** What sets the limit, as a noun phrase: `the machine` or `the container`. */
  readonly holder: string;
}

/** `read` returns a file's text or undefined; tests give their own. */
export function freeMemory(read: (path: string) => string | undefined = readText): FreeMemory {
  const meminfo = read(MEMINFO);
  const kilobytes = meminfo === undefined ? undefined : /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  const machine = kilobytes === undefined ? freemem() : Number(kilobytes) * 1024;
  const group = controlGroup(read);
  return group !== undefined && group < machine ? { bytes: Math.max(0, group), holder: 'the container' } : { bytes: machine, holder: 'the machine' };
}

/** Bytes that this process could still take. */
export function freeMemoryBytes(): number {
  return freeMemory().bytes;
}

/** The least that any control group above this process leaves; undefined without a limit. Page cache that can be dropped counts as free. */
function controlGroup(read: (path: string) => string | undefined): number | undefined {
  let least: number | undefined;
  const consider = (folder: string, names: { limit: string; current: string; inactive: string }): void => {
    const limit = Number(read(join(folder, names.limit)) ?? 'max');
    const current = Number(read(join(folder, names.current)) ?? NaN);
    if (!Number.isFinite(limit) || !Number.isFinite(current)) return;
    const stat = read(join(folder, 'memory.stat')) ?? '';
    const inactive = Number(new RegExp(`^${names.inactive} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
    const left = limit - (current - inactive);
    if (least === undefined || left < least) least = left;
  };
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    if (controllers === '') {
      // version 2: every group on the way up has a say
      for (const folder of ancestors('/sys/fs/cgroup', path)) {
        consider(folder, { limit: 'memory.max', current: 'memory.current', inactive: 'inactive_file' });
      }
    } else if (controllers.split(',').includes('memory')) {
      for (const folder of ancestors('/sys/fs/cgroup/memory', path)) {
        consider(folder, { limit: 'memory.limit_in_bytes', current: 'memory.usage_in_bytes', inactive: 'total_inactive_file' });
      }
    }
  }
  return least;
}

/** `root/a/b`, `root/a`, `root`. Inside a container the path may not exist below the mount; its root then stands for it. */
function ancestors(root: string, path: string): string[] {
  const folders: string[] = [];
  for (let at = path; at !== '/' && at !== '.' && at !== ''; at = dirname(at)) folders.push(join(root, at));
  return [...folders, root];
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined; // not on this system
  }
}

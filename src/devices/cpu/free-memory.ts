/** How much memory the machine has free for us: the system's own estimate, and what the control group (a container's limit) leaves. */

import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { KIB } from '../../base/bytes.ts';

const MEMINFO = '/proc/meminfo';

export interface FreeMemory {
  readonly bytes: number;
  /** All that the holder has, free or not. */
  readonly totalBytes: number;
  /** What sets the limit, as a noun phrase: `the machine` or `the container`. */
  readonly holder: string;
}

/** A file's text, or undefined where there is no such file. Tests give their own. */
export type ReadFile = (path: string) => string | undefined;

export function freeMemory(read: ReadFile = readText): FreeMemory {
  const meminfo = read(MEMINFO) ?? '';
  const bytesOf = (key: string): number | undefined => {
    const kilobytes = new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(meminfo)?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * KIB;
  };
  const machine: FreeMemory = { bytes: bytesOf('MemAvailable') ?? freemem(), totalBytes: bytesOf('MemTotal') ?? totalmem(), holder: 'the machine' };
  return controlGroups(read).flatMap((group) => groupMemory(group, read) ?? []).reduce((least, group) => (group.bytes < least.bytes ? group : least), machine);
}

/** Bytes that this process could still take. */
export function freeMemoryBytes(): number {
  return freeMemory().bytes;
}

/** A control group that this process belongs to: its folder, and which names its files have. */
export interface ControlGroup {
  readonly folder: string;
  readonly version: 1 | 2;
}

/** Every memory control group above this process, innermost first. */
export function controlGroups(read: ReadFile): readonly ControlGroup[] {
  return (read('/proc/self/cgroup') ?? '').split('\n').flatMap((line): readonly ControlGroup[] => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) return [];
    if (controllers === '') return ancestors('/sys/fs/cgroup', path).map((folder) => ({ folder, version: 2 }));
    return controllers.split(',').includes('memory') ? ancestors('/sys/fs/cgroup/memory', path).map((folder) => ({ folder, version: 1 })) : [];
  });
}

const GROUP_FILES = {
  // Above memory.high a group is not killed, but slowed down until it stands still: nobody wants to train there.
  2: { limits: ['memory.max', 'memory.high'], current: 'memory.current', inactive: 'inactive_file' },
  1: { limits: ['memory.limit_in_bytes'], current: 'memory.usage_in_bytes', inactive: 'total_inactive_file' },
} as const;

/** What a group leaves; undefined without a limit. Page cache that can be dropped counts as free. */
function groupMemory({ folder, version }: ControlGroup, read: ReadFile): FreeMemory | undefined {
  const files = GROUP_FILES[version];
  const limit = Math.min(...files.limits.map((name) => Number(read(join(folder, name)) ?? Infinity)).filter((value) => !Number.isNaN(value)));
  const current = Number(read(join(folder, files.current)) ?? NaN);
  if (!Number.isFinite(limit) || !Number.isFinite(current)) return undefined;
  const stat = read(join(folder, 'memory.stat')) ?? '';
  const inactive = Number(new RegExp(`^${files.inactive} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
  return { bytes: Math.max(0, limit - (current - inactive)), totalBytes: limit, holder: 'the container' };
}

/** `root/a/b`, `root/a`, `root`. Inside a container the path may not exist below the mount; its root then stands for it. */
function ancestors(root: string, path: string): string[] {
  const folders: string[] = [];
  for (let at = path; at !== '/' && at !== '.' && at !== ''; at = dirname(at)) folders.push(join(root, at));
  return [...folders, root];
}

/** The text of a small file of the system, without white space around it. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined; // not on this system
  }
}

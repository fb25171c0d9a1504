/** How the free memory is found, on made-up machines. */

import { expect, it } from 'vitest';
import { MIB } from '../../base/bytes.ts';
import { freeMemory } from './free-memory.ts';

const meminfo = `MemTotal:       16000000 kB\nMemFree:         100000 kB\nMemAvailable:    ${1024 * 1024} kB`;
const machine = (files: Readonly<Record<string, string>>) => freeMemory((path) => ({ '/proc/meminfo': meminfo, ...files })[path]);

it('is what the system calls available where nothing limits it', () => {
  expect(machine({})).toEqual({ bytes: 1024 * MIB, totalBytes: 16e6 * 1024, holder: 'the machine' });
  expect(machine({ '/proc/self/cgroup': '0::/user', '/sys/fs/cgroup/user/memory.max': 'max', '/sys/fs/cgroup/user/memory.current': '5' }).bytes).toBe(1024 * MIB);
});

it('is what a version 2 group above the process leaves, page cache counted as free', () => {
  const files = {
    '/proc/self/cgroup': '0::/a/b',
    '/sys/fs/cgroup/a/b/memory.max': 'max',
    '/sys/fs/cgroup/a/b/memory.current': '1000',
    '/sys/fs/cgroup/a/memory.max': String(500 * MIB),
    '/sys/fs/cgroup/a/memory.current': String(300 * MIB),
    '/sys/fs/cgroup/a/memory.stat': `anon 1\ninactive_file ${50 * MIB}\nactive_file 7`,
  };
  expect(machine(files)).toEqual({ bytes: 250 * MIB, totalBytes: 500 * MIB, holder: 'the container' });
});

it('counts memory.high as a limit: a group above it stands still', () => {
  const files = { '/proc/self/cgroup': '0::/a', '/sys/fs/cgroup/a/memory.max': String(500 * MIB), '/sys/fs/cgroup/a/memory.high': String(400 * MIB), '/sys/fs/cgroup/a/memory.current': String(300 * MIB) };
  expect(machine(files)).toEqual({ bytes: 100 * MIB, totalBytes: 400 * MIB, holder: 'the container' });
  expect(machine({ ...files, '/sys/fs/cgroup/a/memory.high': 'max' }).bytes).toBe(200 * MIB);
});

it('is what a version 1 group leaves, and inside a container the root of the mount', () => {
  const files = {
    '/proc/self/cgroup': '4:memory:/docker/123\n0::/',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': String(64 * MIB),
    '/sys/fs/cgroup/memory/memory.usage_in_bytes': String(100 * MIB),
    '/sys/fs/cgroup/memory/memory.stat': `inactive_file 1\ntotal_inactive_file ${6 * MIB}`,
  };
  expect(machine(files)).toEqual({ bytes: 0, totalBytes: 64 * MIB, holder: 'the container' });
});

it('finds this machine', () => {
  expect(freeMemory().bytes).toBeGreaterThan(0);
});

/** An arena that does not fit is refused by arithmetic, on made-up machines. */

import { expect, it } from 'vitest';
import { GIB, MIB } from '../../base/bytes.ts';
import { freeMemory } from './free-memory.ts';
import { requireMemory } from './require-memory.ts';

/** A machine with 64 GiB free, in a container with `limit` bytes of which `used` are taken. */
const container = (limit: number, used: number) => freeMemory((path) => ({
  '/proc/meminfo': `MemTotal:  ${128 * MIB} kB\nMemAvailable:  ${64 * MIB} kB`,
  '/proc/self/cgroup': '0::/job',
  '/sys/fs/cgroup/job/memory.max': String(limit),
  '/sys/fs/cgroup/job/memory.current': String(used),
} as Readonly<Record<string, string>>)[path]);

it('counts page tables and room to work, and names the figures', () => {
  const free = container(4 * GIB, GIB);
  // 3072 MiB are free. 3002 + 5.9 + 64 fit, 3004 + 5.9 + 64 do not.
  expect(() => requireMemory(3002 * MIB, free)).not.toThrow();
  expect(() => requireMemory(3004 * MIB, free)).toThrow('the run needs 3.00 GiB (arena 2.93 GiB, page tables 5.9 MiB, 64.0 MiB to work with); the container has 3.00 GiB free of 4.00 GiB');
  expect(() => requireMemory(3 * GIB, free)).toThrow(expect.objectContaining({ code: 'E_BUDGET' }));
});

it('goes by the container, not by the machine around it', () => {
  expect(() => requireMemory(2 * GIB, container(2 * GIB, 0))).toThrow('the container has 2.00 GiB free of 2.00 GiB');
  expect(() => requireMemory(2 * GIB, freeMemory((path) => (path === '/proc/meminfo' ? `MemTotal:  ${4 * MIB} kB\nMemAvailable:  ${3 * MIB} kB` : undefined)))).not.toThrow();
});

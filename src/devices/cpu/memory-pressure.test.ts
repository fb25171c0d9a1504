/** When others' hunger for memory counts as pressure, on made-up machines that change between looks. */

import { describe, expect, it } from 'vitest';
import { GIB, MIB } from '../../base/bytes.ts';
import { pressureGauge } from './memory-pressure.ts';

/** A gauge over files that a test may change. */
function machine(files: Record<string, string>, leftBytes = 64 * GIB) {
  const look = pressureGauge(leftBytes, (path) => files[path]);
  return { files, look };
}

const meminfo = (total: number, available: number): string => `MemTotal: ${total / 1024} kB\nMemFree: 1 kB\nMemAvailable: ${Math.floor(available / 1024)} kB`;
const stall = (full: number): string => `some avg10=80.00 avg60=9.00 avg300=1.00 total=9\nfull avg10=${full.toFixed(2)} avg60=0.00 avg300=0.00 total=5`;

describe('memory that runs out', () => {
  it.each([
    { total: 64 * GIB, start: 16 * GIB, low: 0.02 * 64 * GIB },
    { total: 8 * GIB, start: 2 * GIB, low: 256 * MIB },
    { total: 8 * GIB, start: 300 * MIB, low: 150 * MIB }, // planned with little to spare
    { total: GIB, start: 80 * MIB, low: 64 * MIB }, // what a checkpoint needs
  ])('is pressure below $low of $total bytes when a run leaves $start', ({ total, start, low }) => {
    const { files, look } = machine({ '/proc/meminfo': meminfo(total, start) }, start);
    expect(look()).toEqual({ kind: 'calm' });
    files['/proc/meminfo'] = meminfo(total, low + MIB);
    expect(look()).toEqual({ kind: 'calm' });
    files['/proc/meminfo'] = meminfo(total, low - MIB);
    expect(look()).toMatchObject({ kind: 'pressure', reason: expect.stringContaining('the machine has') as unknown });
    files['/proc/meminfo'] = meminfo(total, start);
    expect(look()).toEqual({ kind: 'calm' });
  });

  it('is a matter of the container, too', () => {
    const { files, look } = machine({
      '/proc/meminfo': meminfo(64 * GIB, 32 * GIB), '/proc/self/cgroup': '0::/job', '/sys/fs/cgroup/job/memory.max': String(4 * GIB), '/sys/fs/cgroup/job/memory.current': String(2 * GIB),
    });
    expect(look()).toEqual({ kind: 'calm' });
    files['/sys/fs/cgroup/job/memory.current'] = String(4 * GIB - 100 * MIB);
    expect(look()).toEqual({ kind: 'pressure', reason: 'the container has 100.0 MiB free of 4.00 GiB', freeBytes: 100 * MIB });
    files['/sys/fs/cgroup/job/memory.stat'] = `inactive_file ${GIB}`; // page cache
    expect(look()).toEqual({ kind: 'calm' });
  });
});

describe('stalls', () => {
  const scarce = meminfo(16 * GIB, GIB);

  it('are pressure when two looks in a row see all tasks wait', () => {
    const { files, look } = machine({ '/proc/meminfo': meminfo(16 * GIB, 8 * GIB), '/proc/pressure/memory': stall(0) });
    look();
    Object.assign(files, { '/proc/meminfo': scarce, '/proc/pressure/memory': stall(25) });
    expect(look()).toEqual({ kind: 'calm' });
    files['/proc/pressure/memory'] = stall(9);
    expect(look()).toEqual({ kind: 'calm' });
    files['/proc/pressure/memory'] = stall(12);
    expect(look()).toEqual({ kind: 'calm' });
    expect(look()).toMatchObject({ kind: 'pressure', reason: expect.stringMatching(/stood still for 12 % .* the machine has 1\.00 GiB free/) as unknown });
  });

  it('of a group around the process count', () => {
    const { look } = machine({ '/proc/meminfo': scarce, '/proc/self/cgroup': '0::/job', '/sys/fs/cgroup/job/memory.pressure': stall(40) });
    expect([look(), look()].map(({ kind }) => kind)).toEqual(['calm', 'pressure']);
  });

  it('are nothing while there is memory: a checkpoint on a full page cache', () => {
    const { look } = machine({ '/proc/meminfo': meminfo(16 * GIB, 4 * GIB), '/proc/pressure/memory': stall(60) });
    expect([look(), look(), look()].map(({ kind }) => kind)).toEqual(['calm', 'calm', 'calm']);
  });
});

it('never alarms where there are no such files', () => {
  const { look } = machine({});
  expect([look(), look()]).toEqual([{ kind: 'calm' }, { kind: 'calm' }]);
});

it('finds this machine calm', () => {
  expect(pressureGauge(0)()).toEqual({ kind: 'calm' });
});

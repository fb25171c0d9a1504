/** Where the peak is read from. */

import { expect, it } from 'vitest';
import { MIB } from '../../base/bytes.ts';
import { peakResidentBytes } from './resident-memory.ts';

it("is the system's own high water of this process", () => {
  expect(peakResidentBytes((path) => (path === '/proc/self/status' ? 'Name:\tnode\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n' : undefined))).toBe(2 * MIB);
});

it('is what getrusage says where there is no such file', () => {
  const before = process.resourceUsage().maxRSS * 1024;
  expect(peakResidentBytes(() => undefined)).toBeGreaterThanOrEqual(before);
});

it('grows with what is held', () => {
  const before = peakResidentBytes();
  expect(new Uint8Array(64 * MIB).fill(1)[5]).toBe(1);
  expect(peakResidentBytes()).toBeGreaterThanOrEqual(Math.max(before, 64 * MIB));
});

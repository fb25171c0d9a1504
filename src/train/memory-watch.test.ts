/** The watch looks beside the run, once in a while, and stops at the first pressure. */

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { GIB, MIB } from '../base/bytes.ts';
import { suggestedMemoryBytes, watchMemory } from './memory-watch.ts';
import type { MemoryPressure } from './devices.ts';

const PRESSURE: MemoryPressure = { kind: 'pressure', reason: 'the machine has 100.0 MiB free of 4.00 GiB', freeBytes: 100 * MIB };

it('aborts at the first pressure, keeps what it found, and looks no more', async () => {
  let looks = 0;
  const told: MemoryPressure[] = [];
  const watch = watchMemory({ leftBytes: GIB, onPressure: (pressure) => told.push(pressure), look: () => (++looks < 4 ? { kind: 'calm' } : PRESSURE), lookMs: 5 });
  expect([looks, watch.signal.aborted, watch.pressure()]).toEqual([1, false, undefined]);
  await new Promise((resolve) => watch.signal.addEventListener('abort', resolve));
  expect(watch.pressure()).toEqual(PRESSURE);
  await sleep(30);
  expect([looks, told]).toEqual([4, [PRESSURE]]);
});

it('says so at once when a run begins under pressure', () => {
  const watch = watchMemory({ leftBytes: GIB, onPressure: () => undefined, look: () => PRESSURE });
  expect(watch.signal.aborted).toBe(true);
});

it('looks no more after it was stopped', async () => {
  let looks = 0;
  const watch = watchMemory({ leftBytes: GIB, onPressure: () => undefined, look: () => (looks++, { kind: 'calm' }), lookMs: 5 });
  watch.stop();
  await sleep(30);
  expect(looks).toBe(1);
});

it('suggests four fifths of what is held and free, in steps of 64 MiB', () => {
  expect(suggestedMemoryBytes({ residentBytes: 3 * GIB, freeBytes: GIB })).toBe(51 * 64 * MIB); // 3276.8 MiB
  expect(suggestedMemoryBytes({ residentBytes: 60 * MIB, freeBytes: 20 * MIB })).toBe(64 * MIB);
  expect(suggestedMemoryBytes({ residentBytes: 60 * MIB, freeBytes: 19 * MIB })).toBeNull();
});

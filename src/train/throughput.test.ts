/** The typical step: what is slow at the start or once in a while does not count. */

import { expect, it } from 'vitest';
import { Throughput } from './throughput.ts';

it('leaves the first two steps out of the median of a run', () => {
  const throughput = new Throughput();
  expect(throughput.medianStepMs()).toBeNull();
  throughput.record(900);
  expect(throughput.record(800)).toBe(900);
  expect(throughput.medianStepMs()).toBeNull();
  for (const stepMs of [10, 12, 500, 11, 12]) throughput.record(stepMs);
  expect(throughput.medianStepMs()).toBe(12);
});

it('follows the last twenty steps for the time left, and all of them for the run', () => {
  const throughput = new Throughput();
  for (let step = 0; step < 62; step++) throughput.record(10);
  let recent = 0;
  for (let step = 0; step < 20; step++) recent = throughput.record(30);
  expect([recent, throughput.medianStepMs()]).toEqual([30, 10]);
});

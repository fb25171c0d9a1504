/** What planning leaves behind is given back before a run. */

import { getHeapSpaceStatistics } from 'node:v8';
import { expect, it } from 'vitest';
import { MIB } from '../base/bytes.ts';
import { keepHeapSmall } from './small-heap.ts';

const youngBytes = (): number => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')!.physical_space_size;

/** Objects that live long enough to make the young generation grow. */
function litter(): number {
  let kept: object[] = [];
  let sum = 0;
  for (let round = 0; round < 40; round++) {
    kept = Array.from({ length: 50_000 }, (_, i) => ({ i, text: `x${i}` }));
    sum += kept.length;
  }
  return sum;
}

it('shrinks the young generation, keeps it small, and lets it grow again afterwards', async () => {
  litter();
  expect(youngBytes()).toBeGreaterThan(8 * MIB);
  const letGrow = await keepHeapSmall();
  try {
    litter();
    expect(youngBytes()).toBeLessThan(8 * MIB);
  } finally {
    letGrow();
  }
  litter();
  expect(youngBytes()).toBeGreaterThan(8 * MIB);
});

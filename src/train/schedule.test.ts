import { describe, expect, it } from 'vitest';
import type { Settings } from '../run/run-config.ts';
import { isDue, runLength, warmupSteps } from './schedule.ts';

const settings = (changes: Partial<Settings>): Settings => ({ num_train_epochs: 3, ...changes }) as Settings;
const updates = (epoch: number): number => [10, 9, 11][epoch % 3]!;

describe('runLength', () => {
  it('adds up epochs of different lengths', () => {
    expect(runLength(settings({}), updates)).toEqual({ totalSteps: 30, epochs: 3 });
  });
  it('takes a fraction of the last epoch', () => {
    expect(runLength(settings({ num_train_epochs: 1.5 }), updates)).toEqual({ totalSteps: 15, epochs: 1.5 });
    expect(runLength(settings({ num_train_epochs: 0.01 }), updates).totalSteps).toBe(1);
  });
  it('lets max_steps decide, below and above the epochs', () => {
    expect(runLength(settings({ max_steps: 5 }), updates)).toEqual({ totalSteps: 5, epochs: 0.5 });
    expect(runLength(settings({ max_steps: 35 }), updates)).toEqual({ totalSteps: 35, epochs: 3.5 });
  });
});

describe('warmupSteps', () => {
  it('takes steps as they are and rounds a share up', () => {
    expect(warmupSteps(settings({ warmup_steps: 7 }), 100)).toBe(7);
    expect(warmupSteps(settings({ warmup_ratio: 0.03 }), 101)).toBe(4);
    expect(warmupSteps(settings({}), 100)).toBe(0);
  });
});

describe('isDue', () => {
  it('is every interval, or each epoch, and always at the end', () => {
    const at = (step: number, endsEpoch = false) => ({ step, totalSteps: 25, endsEpoch, updatesInEpoch: 7 });
    expect([4, 5, 10, 25].map((step) => isDue(5, at(step)))).toEqual([false, true, true, true]);
    expect(isDue(5, at(7, true))).toBe(false);
    expect(isDue(undefined, at(7, true))).toBe(true);
    expect(isDue(undefined, at(8))).toBe(false);
    expect(isDue(undefined, at(25))).toBe(true);
  });
  it('skips some of many short epochs', () => {
    const due = Array.from({ length: 100 }, (_, i) => i + 1).filter((step) => isDue(undefined, { step, totalSteps: 100, endsEpoch: true, updatesInEpoch: 1 }));
    expect(due).toEqual(Array.from({ length: 20 }, (_, i) => (i + 1) * 5));
    const epochsOfThree = Array.from({ length: 33 }, (_, i) => (i + 1) * 3).filter((step) => isDue(undefined, { step, totalSteps: 99, endsEpoch: true, updatesInEpoch: 3 }));
    expect(epochsOfThree.length).toBe(20);
  });
});

import { describe, expect, it } from 'vitest';
import { continueSchedule, learningRateAt, newSchedule, schedulePosition } from './learning-rate.ts';

const base = { learningRate: 1, warmupSteps: 4, totalSteps: 12 } as const;

describe('learningRateAt', () => {
  it('warms up from zero and decays to zero, linear', () => {
    const rates = Array.from({ length: 13 }, (_, step) => learningRateAt(step, { ...base, schedule: 'linear' }));
    expect(rates).toEqual([0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]);
  });

  it('follows half a cosine', () => {
    expect(learningRateAt(8, { ...base, schedule: 'cosine' })).toBeCloseTo(0.5, 12);
    expect(learningRateAt(6, { ...base, schedule: 'cosine' })).toBeCloseTo(0.5 * (1 + Math.cos(Math.PI / 4)), 12);
    expect(learningRateAt(12, { ...base, schedule: 'cosine' })).toBeCloseTo(0, 12);
  });

  it('stays where it is when constant, with or without warm-up', () => {
    expect(learningRateAt(0, { ...base, schedule: 'constant' })).toBe(1);
    expect(learningRateAt(1, { ...base, schedule: 'constant_with_warmup' })).toBe(0.25);
    expect(learningRateAt(11, { ...base, schedule: 'constant_with_warmup' })).toBe(1);
  });

  it('begins at the full rate without warm-up', () => {
    expect(learningRateAt(0, { ...base, warmupSteps: 0, schedule: 'linear' })).toBe(1);
  });
});

describe('continueSchedule', () => {
  it('leaves a run of unchanged length alone', () => {
    const state = newSchedule(12);
    expect(continueSchedule(state, 5, 12)).toEqual({ state, notice: undefined });
    expect(Array.from({ length: 13 }, (_, step) => schedulePosition(state, step))).toEqual(Array.from({ length: 13 }, (_, step) => step));
  });

  it('rescales the rest of the curve from the current step, without a jump, and says so', () => {
    const { state, notice } = continueSchedule(newSchedule(10), 4, 16);
    expect(notice).toMatch(/16 steps instead of 10/);
    expect([4, 10, 16].map((step) => schedulePosition(state, step))).toEqual([4, 7, 10]);
    const again = continueSchedule(state, 10, 12).state;
    expect([10, 11, 12].map((step) => schedulePosition(again, step))).toEqual([7, 8.5, 10]);
  });

  it('starts from the schedule of the longer run when the old one had ended', () => {
    const { state, notice } = continueSchedule(newSchedule(10), 10, 20);
    expect(notice).toMatch(/had reached its end/);
    expect(schedulePosition(state, 10)).toBe(10);
    expect(state.horizon).toBe(20);
  });
});

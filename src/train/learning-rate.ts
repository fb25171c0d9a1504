/** Learning rate over the run, as transformers' schedulers define it: `step` counts completed updates, so the first update has step 0. */

import type { LearningRateSchedule } from '../run/run-config.ts';

export interface ScheduleOptions {
  readonly schedule: LearningRateSchedule;
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

export function learningRateAt(step: number, { schedule, learningRate, warmupSteps, totalSteps }: ScheduleOptions): number {
  if (schedule !== 'constant' && step < warmupSteps) return (learningRate * step) / warmupSteps;
  const remaining = Math.max(1, totalSteps - warmupSteps);
  switch (schedule) {
    case 'constant':
    case 'constant_with_warmup':
      return learningRate;
    case 'linear':
      return learningRate * Math.max(0, (totalSteps - step) / remaining);
    case 'cosine':
      return learningRate * Math.max(0, 0.5 * (1 + Math.cos((Math.PI * (step - warmupSteps)) / remaining)));
    default:
      return schedule satisfies never;
  }
}

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

/**
 * Where a run stands on its curve. The curve spans `horizon` steps; from `anchorStep` on, the rest of it is stretched or squeezed so that it
 * ends at `totalSteps`. A run whose length never changed has horizon = totalSteps and anchors 0.
 */
export interface ScheduleState {
  readonly horizon: number;
  readonly anchorStep: number;
  readonly anchorPosition: number;
  readonly totalSteps: number;
}

export function newSchedule(totalSteps: number): ScheduleState {
  return { horizon: totalSteps, anchorStep: 0, anchorPosition: 0, totalSteps };
}

/** The step of the original curve that corresponds to `step`. */
export function schedulePosition({ horizon, anchorStep, anchorPosition, totalSteps }: ScheduleState, step: number): number {
  if (totalSteps === anchorStep) return horizon;
  return anchorPosition + ((step - anchorStep) * (horizon - anchorPosition)) / (totalSteps - anchorStep);
}

/** The schedule of a run that is resumed at `step` and now has `totalSteps`, and what the user should be told when that changed. */
export function continueSchedule(state: ScheduleState, step: number, totalSteps: number): { readonly state: ScheduleState; readonly notice: string | undefined } {
  if (totalSteps === state.totalSteps) return { state, notice: undefined };
  const position = schedulePosition(state, step);
  const change = `${totalSteps} steps instead of ${state.totalSteps}`;
  if (position >= state.horizon) {
    return { state: newSchedule(totalSteps), notice: `${change}: the learning rate had reached its end and now follows the schedule of a run of ${totalSteps} steps` };
  }
  return {
    state: { horizon: state.horizon, anchorStep: step, anchorPosition: position, totalSteps },
    notice: `${change}: the rest of the learning rate schedule is rescaled to the ${totalSteps - step} steps from here`,
  };
}

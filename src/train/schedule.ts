/** When a run ends, evaluates and saves: step numbers, from rows and settings. */

import type { Settings } from '../run/run-config.ts';

export interface RunLength {
  /** Updates of the whole run. */
  readonly totalSteps: number;
  /** Epochs that it will have covered, fractional. */
  readonly epochs: number;
}

/** Updates in `num_train_epochs` epochs, the last of which may be a fraction; `max_steps`, if set, decides alone, as in transformers. */
export function runLength(settings: Settings, updatesInEpoch: (epoch: number) => number): RunLength {
  let steps = 0;
  for (let epoch = 0; ; epoch++) {
    const more = updatesInEpoch(epoch);
    if (settings.max_steps !== undefined) {
      if (steps + more >= settings.max_steps) return { totalSteps: settings.max_steps, epochs: epoch + (settings.max_steps - steps) / more };
    } else if (epoch + 1 >= settings.num_train_epochs) {
      const share = settings.num_train_epochs - epoch;
      return { totalSteps: steps + Math.max(1, Math.round(share * more)), epochs: settings.num_train_epochs };
    }
    steps += more;
  }
}

/** Warm-up steps: given as a number, or as a share of all steps (rounded up, as in transformers). */
export function warmupSteps(settings: Settings, totalSteps: number): number {
  return settings.warmup_steps ?? Math.ceil((settings.warmup_ratio ?? 0) * totalSteps);
}

export interface StepPosition {
  readonly step: number;
  readonly totalSteps: number;
  readonly endsEpoch: boolean;
  /** Of the epoch that this step belongs to. */
  readonly updatesInEpoch: number;
}

/** Short epochs are not all worth an evaluation and a checkpoint: this many in a run at most, besides the last. */
const MOST_EPOCH_ENDS = 20;

/**
 * Every `interval` steps; without an interval, at each epoch's end, but at most 20 times in a run of many short epochs; in any case at the
 * end of the run.
 */
export function isDue(interval: number | undefined, { step, totalSteps, endsEpoch, updatesInEpoch }: StepPosition): boolean {
  if (step === totalSteps) return true;
  if (interval !== undefined) return step % interval === 0;
  return endsEpoch && step % Math.ceil(totalSteps / MOST_EPOCH_ENDS) < updatesInEpoch;
}

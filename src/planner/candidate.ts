/** A plan with what it needs and how long it takes. */

import type { TrainingPlan } from '../run/training-plan.ts';

export interface Candidate {
  readonly plan: TrainingPlan;
  /** Bytes of the process. */
  readonly bytes: number;
  /** Predicted time of one update. */
  readonly stepMs: number;
}

/** Faster, or as fast and smaller. */
export function isBetter(a: Candidate, b: Candidate): boolean {
  return a.stepMs < b.stepMs || (a.stepMs === b.stepMs && a.bytes < b.bytes);
}

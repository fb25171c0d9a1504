/** The plans between which a user can choose: no other plan is both smaller and faster than one of these. */

import type { NumericsTier } from './training-plan.ts';

export interface FrontierPoint {
  /** Arena plus the process constant. */
  readonly forecastBytes: number;
  /** Predicted time of one update. */
  readonly stepMs: number;
  readonly tokensPerSecond: number;
  readonly numerics: NumericsTier;
  /** The plan in a few words: `micro-batch 4, full recompute`. */
  readonly summary: string;
  /** What differs from the chosen plan, one line each; empty for the chosen one. */
  readonly changes: readonly string[];
  readonly chosen: boolean;
}

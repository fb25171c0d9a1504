/** A point of the frontier: a plan that no other plan beats in both memory and time. */

import type { NumericsTier } from './training-plan.ts';

export interface FrontierPoint {
  /** What the process holds at most. */
  readonly forecastBytes: number;
  /** Predicted time of one update. */
  readonly stepMs: number;
  readonly tokensPerSecond: number;
  /** What it does to the numbers, compared with the plan of the settings alone. */
  readonly numerics: NumericsTier;
  /** The techniques in use, in a few words. */
  readonly summary: string;
  /** What differs from the next point that needs more memory. */
  readonly changes: readonly string[];
  readonly chosen: boolean;
}

/** The candidates that one combination unfolds into, from most memory to least and from fastest to slowest, and what is known of each. */

import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { Candidate } from './candidate.ts';

/** What the techniques that propose by search make of a step: the same for all combinations with that step. */
export interface Proposals {
  /** Only what is proposed counts. */
  readonly plans: readonly TrainingPlan[];
  /** Ascending indices of the plans that treat all layers most evenly: to probe them costs the least. */
  readonly landmarks: readonly number[];
}

/** A candidate with its place. */
export interface Found {
  readonly path: Path;
  readonly index: number;
  readonly candidate: Candidate;
}

export interface Estimator {
  estimate(plan: TrainingPlan): Candidate;
  evaluate(plan: TrainingPlan): Candidate;
  readonly trustsProbes: boolean;
}

const PROPOSING = TECHNIQUES.filter(({ proposes }) => proposes);

export class Path {
  private readonly plan: TrainingPlan;
  private readonly proposals: Proposals;
  private readonly estimator: Estimator;
  private readonly estimates = new Map<number, Candidate>();
  private readonly found = new Map<number, Candidate>();

  constructor(plan: TrainingPlan, proposals: Proposals, estimator: Estimator) {
    this.plan = plan;
    this.proposals = proposals;
    this.estimator = estimator;
  }

  get last(): number {
    return this.proposals.plans.length - 1;
  }

  get landmarks(): readonly number[] {
    return this.proposals.landmarks;
  }

  /** Whatever was asked of so far, by index. */
  get seen(): Iterable<number> {
    return new Set([...this.estimates.keys(), ...this.found.keys()]);
  }

  /** Time and least bytes; exact where `evaluate` has been. */
  estimate(index: number): Candidate {
    const known = this.found.get(index);
    if (known !== undefined) return known;
    let candidate = this.estimator.trustsProbes ? this.estimates.get(index) : undefined;
    if (candidate === undefined) {
      candidate = this.estimator.estimate(this.planAt(index));
      this.estimates.set(index, candidate);
    }
    // Memory falls along the path.
    let { bytes } = candidate;
    for (const [later, other] of this.found) if (later > index && other.bytes > bytes) bytes = other.bytes;
    return bytes === candidate.bytes ? candidate : { ...candidate, bytes };
  }

  /** At full depth. */
  evaluate(index: number): Candidate {
    let candidate = this.found.get(index);
    if (candidate === undefined) {
      candidate = this.estimator.evaluate(this.planAt(index));
      this.found.set(index, candidate);
    }
    return candidate;
  }

  /** What a whole compilation found: the arena may be a little larger than its lower bound. */
  correct(index: number, bytes: number): void {
    this.found.set(index, { ...this.evaluate(index), bytes });
  }

  private planAt(index: number): TrainingPlan {
    return PROPOSING.reduce((plan, technique) => technique.copy(this.proposals.plans[index]!, plan), this.plan);
  }
}

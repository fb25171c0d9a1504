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
  private readonly propose: () => Proposals;
  private readonly startsAsIs: boolean;
  private readonly estimator: Estimator;
  private proposed: Proposals | undefined;
  private readonly estimates = new Map<number, Candidate>();
  private readonly found = new Map<number, Candidate>();
  /** The least that an evaluated plan needed more than its estimate: its neighbours lose about as much between live ranges. */
  private excess: number | undefined;

  /** `startsAsIs` when the first candidate is `plan` itself: what is proposed costs something to find out, and is not asked for until it is needed. */
  constructor(plan: TrainingPlan, { propose, startsAsIs, estimator }: { propose(): Proposals; readonly startsAsIs: boolean; readonly estimator: Estimator }) {
    this.plan = plan;
    this.propose = propose;
    this.startsAsIs = startsAsIs;
    this.estimator = estimator;
  }

  private get proposals(): Proposals {
    return (this.proposed ??= this.propose());
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

  /** Time and bytes; exact where `evaluate` has been, otherwise hardly more than a lower bound. */
  estimate(index: number): Candidate {
    const known = this.found.get(index);
    if (known !== undefined) return known;
    const bound = this.bound(index);
    let bytes = bound.bytes + (this.excess ?? 0);
    // Memory falls along the path.
    for (const [later, other] of this.found) if (later > index && other.bytes > bytes) bytes = other.bytes;
    return bytes === bound.bytes ? bound : { ...bound, bytes };
  }

  /** Exact. */
  evaluate(index: number): Candidate {
    let candidate = this.found.get(index);
    if (candidate === undefined) {
      candidate = this.estimator.evaluate(this.planAt(index));
      this.found.set(index, candidate);
      this.excess = Math.min(this.excess ?? Infinity, Math.max(0, candidate.bytes - this.bound(index).bytes));
    }
    return candidate;
  }

  private bound(index: number): Candidate {
    let candidate = this.estimator.trustsProbes ? this.estimates.get(index) : undefined;
    if (candidate === undefined) {
      candidate = this.estimator.estimate(this.planAt(index));
      this.estimates.set(index, candidate);
    }
    return candidate;
  }

  private planAt(index: number): TrainingPlan {
    if (index === 0 && this.startsAsIs) return this.plan;
    return PROPOSING.reduce((plan, technique) => technique.copy(this.proposals.plans[index]!, plan), this.plan);
  }
}

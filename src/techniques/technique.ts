/**
 * The contract of a technique: a choice that trades memory, time or numerics. One object per file; `index.ts` is the ordered table.
 * Search space, config keys, refusals, explanations, docs and the matrix test all follow from it.
 *
 * V is the technique's value, stored under `field` in the TrainingPlan.
 */

import type { Graph, Node } from '../graph/graph.ts';
import type { UpdateRule } from '../optimizers/update-rule.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import type { NumericsTier, TrainingPlan } from '../run/training-plan.ts';

/** What a technique may look at when it lists its values. */
export interface TechniqueContext {
  readonly settings: Settings;
  /** Longest row in tokens. */
  readonly maxLength: number;
  /** Row lengths worth compiling when documents are not packed, ascending. */
  readonly bucketLengths: readonly number[];
  /** Rows of the first epoch. */
  readonly rowsPerEpoch: number;
  /** Once the values of the techniques before it are chosen: what a technique that proposes values by search goes by. */
  readonly step?: StepContext;
}

/** A training step before any `step` rewrite, and the time model. */
export interface StepContext {
  readonly graph: Graph;
  nodeMs(graph: Graph, node: Node): number;
}

/** Shapes of the micro-step programs: [microBatchSize, length] for each length. */
export interface BatchShape {
  readonly microBatchSize: number;
  readonly rowLengths: readonly number[];
}

/**
 * Where a technique acts, and what it does there. A `forward` rewrite sees forward pass and loss (the output `loss`, f32 [B]) before backward
 * exists, in training and in evaluation; a `step` rewrite sees each whole program.
 */
export type TechniqueAction<V> =
  | { readonly stage: 'batch'; shape(value: V, batch: BatchShape): BatchShape }
  | { readonly stage: 'forward'; rewrite(value: V, graph: Graph): Graph }
  | { readonly stage: 'update'; rule(value: V): UpdateRule }
  | { readonly stage: 'step'; rewrite(value: V, graph: Graph): Graph };

/** What a user is told of a value. */
export interface Explanation {
  readonly value: string;
  /** A word or two for a line that names all techniques in use; left out when there is nothing to say. */
  readonly brief?: string;
  readonly saves: string;
  readonly costs: string;
}

export interface Technique<V> {
  readonly name: string;
  readonly field: keyof TrainingPlan;
  /** Config keys that belong to this technique and to no other. */
  readonly keys: readonly (keyof RunConfig)[];
  /** Reads this technique's value from a plan. */
  of(plan: TrainingPlan): V;
  /** Puts a value into a plan. */
  into(plan: TrainingPlan, value: V): TrainingPlan;
  /** The values worth trying, within what the user's settings pin; the first is the default. */
  values(context: TechniqueContext): readonly V[];
  /** What this value does to the numbers within `plan`. */
  numerics(value: V, plan: TrainingPlan): NumericsTier;
  /** Why this value cannot be part of `plan`; undefined when it can. */
  conflict(value: V, plan: TrainingPlan): string | undefined;
  explain(value: V): Explanation;
  /** Its values are proposed for a step that is known but for them: a path from the fastest to the smallest. */
  readonly proposes?: true;
  readonly action: TechniqueAction<V>;
}

/** A technique with its value type closed over, so that one table can hold them all. */
export interface PlannedTechnique {
  readonly name: string;
  readonly keys: readonly (keyof RunConfig)[];
  readonly stage: TechniqueAction<never>['stage'];
  readonly proposes: boolean;
  /** Whether two plans have the same value. */
  same(a: TrainingPlan, b: TrainingPlan): boolean;
  /** One plan per value. */
  alternatives(plan: TrainingPlan, context: TechniqueContext): readonly TrainingPlan[];
  numerics(plan: TrainingPlan): NumericsTier;
  conflict(plan: TrainingPlan): string | undefined;
  explain(plan: TrainingPlan): Explanation;
  brief(plan: TrainingPlan): string;
  shape(plan: TrainingPlan, batch: BatchShape): BatchShape;
  rewriteForward(plan: TrainingPlan, graph: Graph): Graph;
  rule(plan: TrainingPlan): UpdateRule | undefined;
  rewriteStep(plan: TrainingPlan, graph: Graph): Graph;
}

/** Closes over V. A stage at which the technique does not act leaves its argument as it is. */
export function planned<V>(technique: Technique<V>): PlannedTechnique {
  const { name, keys, action } = technique;
  return {
    name,
    keys,
    stage: action.stage,
    proposes: technique.proposes === true,
    same: (a, b) => JSON.stringify(technique.of(a)) === JSON.stringify(technique.of(b)),
    alternatives: (plan, context) => technique.values(context).map((value) => technique.into(plan, value)),
    numerics: (plan) => technique.numerics(technique.of(plan), plan),
    conflict: (plan) => technique.conflict(technique.of(plan), plan),
    explain: (plan) => technique.explain(technique.of(plan)),
    brief: (plan) => technique.explain(technique.of(plan)).brief ?? '',
    shape: (plan, batch) => (action.stage === 'batch' ? action.shape(technique.of(plan), batch) : batch),
    rewriteForward: (plan, graph) => (action.stage === 'forward' ? action.rewrite(technique.of(plan), graph) : graph),
    rule: (plan) => (action.stage === 'update' ? action.rule(technique.of(plan)) : undefined),
    rewriteStep: (plan, graph) => (action.stage === 'step' ? action.rewrite(technique.of(plan), graph) : graph),
  };
}

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
  /** May show fewer layers than the model has: they are alike. */
  readonly graph: Graph;
  /** Layers of the model. */
  readonly layers: number;
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

/** How a value speaks of layers, for a technique whose values do: so that the same choice can be made for a model of other depth. */
export interface LayerChoice<V> {
  /** Numbers of layers, counted from the first, after which the value treats layers in another way. */
  cuts(value: V): readonly number[];
  /** The same choice with other numbers in the place of the cuts. */
  moved(value: V, to: (cut: number) => number): V;
  /** Layers at the ends of a run of alike layers that are unlike those in between; 0 where each layer is for itself. */
  reach(value: V): number;
}

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
  /** It only ever saves memory: whatever the rest of the plan, no value is predicted faster than the first one. */
  readonly neverFaster?: true;
  readonly layers?: LayerChoice<V>;
  readonly action: TechniqueAction<V>;
}

/** A technique with its value type closed over, so that one table can hold them all. */
export interface PlannedTechnique {
  readonly name: string;
  readonly keys: readonly (keyof RunConfig)[];
  readonly stage: TechniqueAction<never>['stage'];
  readonly proposes: boolean;
  readonly neverFaster: boolean;
  /** Whether two plans have the same value. */
  same(a: TrainingPlan, b: TrainingPlan): boolean;
  /** The value as a string: two plans have the same value when it is equal. */
  key(plan: TrainingPlan): string;
  /** `to` with the value of `from`. */
  copy(from: TrainingPlan, to: TrainingPlan): TrainingPlan;
  /** See LayerChoice. */
  cuts(plan: TrainingPlan): readonly number[];
  moveCuts(plan: TrainingPlan, to: (cut: number) => number): TrainingPlan;
  reach(plan: TrainingPlan): number;
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
  const { name, keys, action, layers } = technique;
  const known = new WeakMap<object, string>();
  // Values are shared between the many plans of a search.
  const key = (plan: TrainingPlan): string => {
    const value: unknown = technique.of(plan);
    if (typeof value !== 'object' || value === null) return String(value);
    let text = known.get(value);
    if (text === undefined) known.set(value, (text = JSON.stringify(value)));
    return text;
  };
  return {
    name,
    keys,
    stage: action.stage,
    proposes: technique.proposes === true,
    neverFaster: technique.neverFaster === true,
    same: (a, b) => key(a) === key(b),
    key,
    copy: (from, to) => technique.into(to, technique.of(from)),
    cuts: (plan) => layers?.cuts(technique.of(plan)) ?? [],
    moveCuts: (plan, to) => (layers === undefined ? plan : technique.into(plan, layers.moved(technique.of(plan), to))),
    reach: (plan) => layers?.reach(technique.of(plan)) ?? 0,
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

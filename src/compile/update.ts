/** Appends the update: global gradient norm, clipping factor, and the optimizer's rule for each parameter. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { globalNorm, sumSquares } from '../ops/global-norm.ts';
import { add, ones } from '../ops/pointwise.ts';
import { stateName, type UpdateRule } from '../optimizers/update-rule.ts';
import type { TrainingPlan } from '../run/training-plan.ts';

export interface TrainedParameter {
  readonly parameter: ValueId;
  /** The whole gradient of the update, f32, of the parameter's shape, times the loss scale where there is one. */
  readonly gradient: ValueId;
}

export interface UpdateOptions {
  readonly rule: UpdateRule;
  readonly plan: Pick<TrainingPlan, 'maxGradNorm' | 'precision' | 'seed'>;
  isEmbedding(name: string): boolean;
}

/** Whether the loss is multiplied by the runtime input `lossScale`. */
export function scalesLoss({ precision }: Pick<TrainingPlan, 'precision'>): boolean {
  return precision.activations === 'f16';
}

/**
 * Names the output `gradientNorm` f32 [1], the norm before clipping; and, where state is quantised, `quantisation` f32 [2]: Σ error² and Σ value² over
 * all parameters.
 */
export function appendUpdate(builder: GraphBuilder, trained: readonly TrainedParameter[], { rule, plan, isEmbedding }: UpdateOptions): void {
  const gradientScale = builder.within('gradient norm', 'update', () => {
    const lossScale = scalesLoss(plan) ? builder.input('lossScale', 'f32', 1) : undefined;
    const sums = trained.map(({ gradient }) => sumSquares(builder, gradient));
    const { norm, factor } = globalNorm(builder, sums, { maxNorm: plan.maxGradNorm, ...(lossScale === undefined ? {} : { lossScale }) });
    builder.output('gradientNorm', norm);
    // Without clipping no update waits for the norm of all gradients.
    return plan.maxGradNorm === 0 && lossScale === undefined ? ones(builder, 1) : factor;
  });
  const learningRate = builder.input('learningRate', 'f32', 1);
  const step = builder.input('step', 'i32', 1);
  let lost: ValueId | undefined;
  trained.forEach(({ parameter, gradient }, index) => {
    const value = builder.type(parameter);
    const embedding = isEmbedding(value.name);
    builder.within(value.scope, 'update', () => {
      const state = rule.state({ ...value, isEmbedding: embedding }).map((s) => builder.persistent(stateName(value, s), 'optimizer-state', s));
      const more = rule.update({ builder, parameter, gradient, state, learningRate, step, gradientScale, isEmbedding: embedding, roundingSeed: plan.seed * 65536 + index });
      if (more !== undefined) lost = lost === undefined ? more : add(builder, lost, more);
    });
  });
  if (lost !== undefined) builder.output('quantisation', lost);
}

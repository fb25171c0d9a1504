/** Appends the update: global gradient norm, clipping factor, and the optimizer's rule for each parameter. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { globalNorm, sumSquares } from '../ops/global-norm.ts';
import { stateName, type UpdateRule } from '../optimizers/update-rule.ts';

export interface TrainedParameter {
  readonly parameter: ValueId;
  /** The whole gradient of the update, f32, of the parameter's shape. */
  readonly gradient: ValueId;
}

/** Names the output `gradientNorm` f32 [1], the norm before clipping. `maxGradNorm` 0 does not clip. */
export function appendUpdate(builder: GraphBuilder, trained: readonly TrainedParameter[], rule: UpdateRule, maxGradNorm: number): void {
  const { norm, factor } = builder.within('gradient norm', 'update', () =>
    globalNorm(builder, trained.map(({ gradient }) => sumSquares(builder, gradient)), { maxNorm: maxGradNorm }),
  );
  builder.output('gradientNorm', norm);
  const learningRate = builder.input('learningRate', 'f32', 1);
  const step = builder.input('step', 'i32', 1);
  for (const { parameter, gradient } of trained) {
    const value = builder.type(parameter);
    builder.within(value.scope, 'update', () => {
      const state = rule.state(value).map((s) => builder.persistent(stateName(value, s), 'optimizer-state', s));
      rule.update({ builder, parameter, gradient, state, learningRate, step, gradientScale: factor });
    });
  }
}

/** Lion (Chen et al. 2023): one f32 momentum per trained element, updates of one size. */

import { lionUpdate } from '../ops/lion.ts';
import type { Lion } from '../run/training-plan.ts';
import { decays, type UpdateRule } from './update-rule.ts';

export function lion({ beta1, beta2, weightDecay }: Lion): UpdateRule {
  return {
    name: 'lion',
    state: ({ shape }) => [{ name: 'exp_avg', dtype: 'f32', shape }],
    update({ builder, parameter, gradient, state, learningRate, step, gradientScale, roundingSeed }) {
      lionUpdate(builder, {
        parameter, gradient, momentum: state[0]!, learningRate, step, gradientScale, roundingSeed, beta1, beta2,
        weightDecay: decays(builder.type(parameter)) ? weightDecay : 0,
      });
      return undefined;
    },
  };
}

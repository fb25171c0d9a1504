/** AdamW: Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW computes it. */

import { adamwUpdate } from '../ops/adamw.ts';
import type { AdamW } from '../run/training-plan.ts';
import { decays, type UpdateRule } from './update-rule.ts';

/** Two f32 moments per trained element: 8 bytes. */
export function adamw({ beta1, beta2, epsilon, weightDecay }: AdamW): UpdateRule {
  return {
    name: 'adamw',
    state: ({ shape }) => [
      { name: 'exp_avg', dtype: 'f32', shape },
      { name: 'exp_avg_sq', dtype: 'f32', shape },
    ],
    update({ builder, parameter, gradient, state, learningRate, step, gradientScale, roundingSeed }) {
      const [m, v] = state;
      adamwUpdate(builder, {
        parameter, gradient, firstMoment: m!, secondMoment: v!, learningRate, step, gradientScale, roundingSeed,
        beta1, beta2, epsilon, weightDecay: decays(builder.type(parameter)) ? weightDecay : 0,
      });
      return undefined;
    },
  };
}

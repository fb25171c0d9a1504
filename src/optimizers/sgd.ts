/** Stochastic gradient descent with momentum (Polyak 1964), as torch.optim.SGD computes it: weight decay is added to the gradient. */

import { sgdUpdate } from '../ops/sgd.ts';
import type { Sgd } from '../run/training-plan.ts';
import { decays, type UpdateRule } from './update-rule.ts';

/** One f32 momentum per trained element, or no state at momentum 0. */
export function sgd({ momentum, weightDecay }: Sgd): UpdateRule {
  return {
    name: 'sgd',
    state: ({ shape }) => (momentum > 0 ? [{ name: 'momentum_buffer', dtype: 'f32', shape }] : []),
    update({ builder, parameter, gradient, state, learningRate, step, gradientScale, roundingSeed }) {
      const [buffer] = state;
      sgdUpdate(builder, {
        parameter, gradient, learningRate, step, gradientScale, roundingSeed, momentum,
        ...(buffer === undefined ? {} : { momentumBuffer: buffer }),
        weightDecay: decays(builder.type(parameter)) ? weightDecay : 0,
      });
      return undefined;
    },
  };
}

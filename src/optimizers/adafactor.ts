/** Adafactor (Shazeer & Stern 2018) with a given learning rate: of matrices only row and column means of the squared gradients are kept. */

import { adafactorUpdate, secondMomentShapes } from '../ops/adafactor.ts';
import type { Adafactor } from '../run/training-plan.ts';
import { decays, type UpdateRule } from './update-rule.ts';

/** State names are those of transformers' Adafactor. */
export function adafactor({ beta1, weightDecay }: Adafactor): UpdateRule {
  return {
    name: 'adafactor',
    state(parameter) {
      const shapes = secondMomentShapes(parameter);
      const names = shapes.length === 2 ? ['exp_avg_sq_row', 'exp_avg_sq_col'] : ['exp_avg_sq'];
      return [
        ...shapes.map((shape, index) => ({ name: names[index]!, dtype: 'f32' as const, shape })),
        ...(beta1 > 0 ? [{ name: 'exp_avg', dtype: 'f32' as const, shape: parameter.shape }] : []),
      ];
    },
    update({ builder, parameter, gradient, state, learningRate, step, gradientScale, roundingSeed }) {
      const moment = beta1 > 0 ? state.at(-1) : undefined;
      adafactorUpdate(builder, {
        parameter, gradient, learningRate, step, gradientScale, roundingSeed, beta1, weightDecay: decays(builder.type(parameter)) ? weightDecay : 0,
        secondMoments: moment === undefined ? state : state.slice(0, -1), ...(moment === undefined ? {} : { firstMoment: moment }),
      });
      return undefined;
    },
  };
}

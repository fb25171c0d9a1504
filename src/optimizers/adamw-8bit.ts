/** AdamW with eight-bit moments (Dettmers et al. 2022): two bytes per element, and two f32 scales per 256 of them. */

import { elementCount } from '../graph/shape.ts';
import { absmaxType, adamw8bitUpdate } from '../ops/adamw-8bit.ts';
import type { AdamW8bit } from '../run/training-plan.ts';
import { adamw } from './adamw.ts';
import { decays, type OptimizedParameter, type UpdateRule } from './update-rule.ts';

/** Smaller tensors keep f32 moments, as bitsandbytes keeps them. */
const LEAST_ELEMENTS = 4096;

/**
 * Embeddings (unless asked for), vectors such as norm weights, and small tensors keep f32 moments: their rows see few tokens or weigh much, and
 * there is little to save.
 */
export function adamw8bit(choice: AdamW8bit): UpdateRule {
  const { beta1, beta2, epsilon, weightDecay, embeddings } = choice;
  const plain = adamw({ kind: 'adamw', beta1, beta2, epsilon, weightDecay });
  const isCoded = ({ shape, isEmbedding }: Pick<OptimizedParameter, 'shape' | 'isEmbedding'>): boolean =>
    shape.length >= 2 && elementCount(shape) >= LEAST_ELEMENTS && (embeddings || !isEmbedding);
  return {
    name: 'adamw_8bit',
    state(parameter) {
      if (!isCoded(parameter)) return plain.state(parameter);
      const { shape } = parameter;
      const absmax = absmaxType(elementCount(shape));
      return [
        { name: 'exp_avg', dtype: 'u8', shape }, { name: 'exp_avg.absmax', ...absmax },
        { name: 'exp_avg_sq', dtype: 'u8', shape }, { name: 'exp_avg_sq.absmax', ...absmax },
      ];
    },
    update(inputs) {
      const { builder, parameter, gradient, state, learningRate, step, gradientScale, roundingSeed, isEmbedding } = inputs;
      const type = builder.type(parameter);
      if (!isCoded({ ...type, isEmbedding })) return plain.update(inputs);
      const [m, mAbsmax, v, vAbsmax] = state;
      const { quantisation } = adamw8bitUpdate(builder, {
        parameter, gradient, learningRate, step, gradientScale, roundingSeed, beta1, beta2, epsilon, weightDecay: decays(type) ? weightDecay : 0,
        firstMoment: { codes: m!, absmax: mAbsmax! }, secondMoment: { codes: v!, absmax: vAbsmax! },
      });
      return quantisation;
    },
  };
}

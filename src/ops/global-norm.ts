/** The norm of all gradients, and the factor that clips them: torch.nn.utils.clip_grad_norm_ (Pascanu et al. 2013). */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFlag, expectFloat, expectType, only } from './rules.ts';

/** x [...] → f32 [1]: Σ x², summed in fixed blocks in double, rounded once. */
export function sumSquares(b: GraphBuilder, x: ValueId): ValueId {
  return only(b.node('sum_squares', [x]));
}

/**
 * sums f32 [1] each, (lossScale f32 [1]) → norm f32 [1] = √Σ sums / lossScale, and factor f32 [1] = min(1, maxNorm / (norm + 1e-6)) / lossScale.
 * `maxNorm` 0 does not clip; without a loss scale it is 1. A norm that is not a number gives a factor that is none.
 */
export function globalNorm(
  b: GraphBuilder,
  sums: readonly ValueId[],
  options: { readonly maxNorm: number; readonly lossScale?: ValueId },
): { readonly norm: ValueId; readonly factor: ValueId } {
  const { maxNorm, lossScale } = options;
  const outputs = lossScale === undefined ? b.node('global_norm', sums, { maxNorm, scaled: 0 }) : b.node('global_norm', [...sums, lossScale], { maxNorm, scaled: 1 });
  return { norm: at(outputs, 0), factor: at(outputs, 1) };
}

export const sumSquaresOp: Op = {
  name: 'sum_squares',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 1);
    expectFloat(at(inputs, 0), 'x');
    return [tensor('f32', 1)];
  },
  flops: (inputs) => 2 * elementCount(at(inputs, 0).shape),
  bound: 'memory',
  reference: (inputs) => [Float64Array.of(at(inputs, 0).reduce((sum, element) => sum + element * element, 0))],
  samples: [squares('size 1', 1), squares('odd size', 13, 7), squares('a block and one', 4097), squares('several blocks', 3, 5000)],
};

export const globalNormOp: Op = {
  name: 'global_norm',
  attrs: ['maxNorm', 'scaled'],
  infer(inputs, attrs) {
    const scaled = attr(attrs, 'scaled');
    expectFlag(scaled, 'scaled');
    expect(inputs.length > scaled, 'takes at least one sum of squares');
    const maxNorm = attr(attrs, 'maxNorm');
    expect(maxNorm >= 0, `maxNorm must be 0 or more, got ${maxNorm}`);
    inputs.forEach((sum, index) => expectType(sum, 'f32', [1], `sum ${index}`));
    return [tensor('f32', 1), tensor('f32', 1)];
  },
  flops: (inputs) => inputs.length,
  bound: 'memory',
  reference(inputs, attrs) {
    const scaled = attr(attrs, 'scaled') === 1;
    const lossScale = scaled ? at(inputs, inputs.length - 1)[0]! : 1;
    const norm = Math.sqrt((scaled ? inputs.slice(0, -1) : inputs).reduce((total, sum) => total + sum[0]!, 0)) / lossScale;
    const maxNorm = attr(attrs, 'maxNorm');
    return [Float64Array.of(norm), Float64Array.of((maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1) / lossScale)];
  },
  samples: [
    norm('clipped', 3, 0.5, 2),
    norm('not clipped', 3, 100, 2),
    norm('off', 2, 0, 2),
    norm('one tensor', 1, 1, 2),
    norm('many tensors', 300, 1, 2),
    norm('zero gradients', 2, 1, 0),
    norm('loss scale, clipped', 3, 0.5, 2, 4),
    norm('loss scale', 3, 0, 2, 1024),
  ],
};

function squares(name: string, ...shape: number[]): Sample {
  return { name, inputs: [tensor('f32', ...shape)], attrs: {} };
}

function norm(name: string, count: number, maxNorm: number, largest: number, lossScale?: number): Sample {
  const inputs: TensorType[] = Array.from({ length: lossScale === undefined ? count : count + 1 }, () => tensor('f32', 1));
  return {
    name, inputs, attrs: { maxNorm, scaled: lossScale === undefined ? 0 : 1 },
    fill: (index, random) => (index === count && lossScale !== undefined ? [lossScale] : [largest * random()]),
  };
}

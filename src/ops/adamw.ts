/** AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW computes it. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { attr, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFloat, expectType } from './rules.ts';

export interface AdamwUpdate {
  /** Any float type; overwritten. */
  readonly parameter: ValueId;
  /** f32, of the parameter's shape, like both moments. */
  readonly gradient: ValueId;
  /** f32, overwritten; 0 before the first step. */
  readonly firstMoment: ValueId;
  /** f32, overwritten; 0 before the first step. */
  readonly secondMoment: ValueId;
  /** f32 [1]. */
  readonly learningRate: ValueId;
  /** i32 [1], 1 in the first update. */
  readonly step: ValueId;
  /** f32 [1]: multiplies the gradient (clipping). */
  readonly gradientScale: ValueId;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

export interface AdamwResult {
  readonly parameter: ValueId;
  readonly firstMoment: ValueId;
  readonly secondMoment: ValueId;
}

const OVERWRITES = [{ output: 0, input: 0 }, { output: 1, input: 2 }, { output: 2, input: 3 }];

/**
 * p ← p·(1 − lr·wd); g = gradient·gradientScale; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²;
 * p ← p − lr/(1 − β₁^step) · m / (√v/√(1 − β₂^step) + ε). The new values live in the bytes of the old ones.
 */
export function adamwUpdate(b: GraphBuilder, u: AdamwUpdate): AdamwResult {
  const inputs = [u.parameter, u.gradient, u.firstMoment, u.secondMoment, u.learningRate, u.step, u.gradientScale];
  const attrs = { beta1: u.beta1, beta2: u.beta2, epsilon: u.epsilon, weightDecay: u.weightDecay };
  const outputs = b.node('adamw', inputs, attrs, { overwrites: OVERWRITES });
  return { parameter: at(outputs, 0), firstMoment: at(outputs, 1), secondMoment: at(outputs, 2) };
}

export const adamwOp: Op = {
  name: 'adamw',
  attrs: ['beta1', 'beta2', 'epsilon', 'weightDecay'],
  infer(inputs, attrs) {
    expectCount(inputs, 7);
    for (const name of this.attrs) attr(attrs, name);
    const parameter = at(inputs, 0);
    expectFloat(parameter, 'parameter');
    ['gradient', 'first moment', 'second moment'].forEach((what, i) => expectType(at(inputs, i + 1), 'f32', parameter.shape, what));
    expectType(at(inputs, 4), 'f32', [1], 'learning rate');
    expectType(at(inputs, 5), 'i32', [1], 'step');
    expectType(at(inputs, 6), 'f32', [1], 'gradient scale');
    return [parameter, at(inputs, 2), at(inputs, 3)];
  },
  flops: (inputs) => 14 * elementCount(at(inputs, 0).shape),
  mustOverwrite: () => OVERWRITES,
  bound: 'memory',
  reference(inputs, attrs) {
    const [parameter, gradient, first, second] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)];
    const [rate, step, scale] = [at(inputs, 4)[0]!, at(inputs, 5)[0]!, at(inputs, 6)[0]!];
    const [beta1, beta2] = [attr(attrs, 'beta1'), attr(attrs, 'beta2')];
    const m = first.map((old, i) => beta1 * old + (1 - beta1) * gradient[i]! * scale);
    const v = second.map((old, i) => beta2 * old + (1 - beta2) * (gradient[i]! * scale) ** 2);
    const stepSize = rate / (1 - beta1 ** step);
    const correction = Math.sqrt(1 - beta2 ** step);
    const kept = 1 - rate * attr(attrs, 'weightDecay');
    const p = parameter.map((old, i) => old * kept - (stepSize * m[i]!) / (Math.sqrt(v[i]!) / correction + attr(attrs, 'epsilon')));
    return [p, m, v];
  },
  samples: [
    sample('size 1, first step', [1], { step: 1, scale: 1, weightDecay: 0 }),
    sample('odd size, decay', [3, 13], { step: 1, scale: 1, weightDecay: 0.1 }),
    sample('clipped, later step', [7, 19], { step: 1000, scale: 0.25, weightDecay: 0.01 }),
    sample('more than a block', [33, 257], { step: 7, scale: 1, weightDecay: 0.1 }),
  ],
};

function sample(name: string, shape: readonly number[], options: { readonly step: number; readonly scale: number; readonly weightDecay: number }): Sample {
  const full: TensorType = tensor('f32', ...shape);
  const one = tensor('f32', 1);
  return {
    name,
    inputs: [full, full, full, full, one, tensor('i32', 1), one],
    attrs: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: options.weightDecay },
    fill(index, random) {
      if (index === 3) return Array.from({ length: elementCount(shape) }, () => (options.step === 1 ? 0 : random()));
      return index === 4 ? [Math.fround(1e-2)] : index === 5 ? [options.step] : index === 6 ? [options.scale] : undefined;
    },
  };
}

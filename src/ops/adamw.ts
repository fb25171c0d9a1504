/** AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW computes it. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { attr, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFloat, expectState, expectType } from './rules.ts';

export interface AdamwUpdate {
  /** Any float type; overwritten. */
  readonly parameter: ValueId;
  /** f32, of the parameter's shape. */
  readonly gradient: ValueId;
  /** f32, overwritten; 0 before the first step. Of the parameter's shape, or of the elements from `first` on. */
  readonly firstMoment: ValueId;
  /** f32, overwritten; 0 before the first step. Of the first moment's shape. */
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
  /** The first element that is updated; default 0. As many are as the moments have. */
  readonly first?: number;
  /** Of stochastic rounding, for parameters in bf16; default 0. */
  readonly seed?: number;
}

export interface AdamwResult {
  readonly parameter: ValueId;
  readonly firstMoment: ValueId;
  readonly secondMoment: ValueId;
}

const OVERWRITES = [{ output: 0, input: 0 }, { output: 1, input: 2 }, { output: 2, input: 3 }];

/**
 * p ← p·(1 − lr·wd); g = gradient·gradientScale; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²;
 * p ← p − lr/(1 − β₁^step) · m / (√v/√(1 − β₂^step) + ε). The new values live in the bytes of the old ones. Moments that are shorter than the
 * parameter belong to its elements from `first` on, and only these change.
 */
export function adamwUpdate(b: GraphBuilder, u: AdamwUpdate): AdamwResult {
  const inputs = [u.parameter, u.gradient, u.firstMoment, u.secondMoment, u.learningRate, u.step, u.gradientScale];
  const attrs = { beta1: u.beta1, beta2: u.beta2, epsilon: u.epsilon, weightDecay: u.weightDecay, first: u.first ?? 0, seed: u.seed ?? 0 };
  const outputs = b.node('adamw', inputs, attrs, { overwrites: OVERWRITES });
  return { parameter: at(outputs, 0), firstMoment: at(outputs, 1), secondMoment: at(outputs, 2) };
}

export const adamwOp: Op = {
  name: 'adamw',
  attrs: ['beta1', 'beta2', 'epsilon', 'weightDecay', 'first', 'seed'],
  infer(inputs, attrs) {
    expectCount(inputs, 7);
    for (const name of this.attrs) attr(attrs, name);
    const parameter = at(inputs, 0);
    expectFloat(parameter, 'parameter');
    expectType(at(inputs, 1), 'f32', parameter.shape, 'gradient');
    expectState(at(inputs, 2), parameter, attr(attrs, 'first'), 'first moment');
    expectType(at(inputs, 3), 'f32', at(inputs, 2).shape, 'second moment');
    expectType(at(inputs, 4), 'f32', [1], 'learning rate');
    expectType(at(inputs, 5), 'i32', [1], 'step');
    expectType(at(inputs, 6), 'f32', [1], 'gradient scale');
    return [parameter, at(inputs, 2), at(inputs, 3)];
  },
  flops: (inputs) => 14 * elementCount(at(inputs, 2).shape),
  bytesMoved: (inputs) => 28 * elementCount(at(inputs, 2).shape),
  mustOverwrite: () => OVERWRITES,
  bound: 'memory',
  reference(inputs, attrs) {
    const [parameter, gradient, first, second] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)];
    const [rate, step, scale] = [at(inputs, 4)[0]!, at(inputs, 5)[0]!, at(inputs, 6)[0]!];
    const [beta1, beta2] = [attr(attrs, 'beta1'), attr(attrs, 'beta2')];
    const start = attr(attrs, 'first');
    const m = first.map((old, i) => beta1 * old + (1 - beta1) * gradient[start + i]! * scale);
    const v = second.map((old, i) => beta2 * old + (1 - beta2) * (gradient[start + i]! * scale) ** 2);
    const stepSize = rate / (1 - beta1 ** step);
    const correction = Math.sqrt(1 - beta2 ** step);
    const kept = 1 - rate * attr(attrs, 'weightDecay');
    const p = parameter.slice();
    m.forEach((moment, i) => (p[start + i] = p[start + i]! * kept - (stepSize * moment) / (Math.sqrt(v[i]!) / correction + attr(attrs, 'epsilon'))));
    return [p, m, v];
  },
  samples: [
    sample('size 1, first step', [1], { step: 1, scale: 1, weightDecay: 0 }),
    sample('odd size, decay', [3, 13], { step: 1, scale: 1, weightDecay: 0.1 }),
    sample('clipped, later step', [7, 19], { step: 1000, scale: 0.25, weightDecay: 0.01 }),
    sample('more than a block', [33, 257], { step: 7, scale: 1, weightDecay: 0.1 }),
    sample('a range', [7, 19], { step: 3, scale: 0.5, weightDecay: 0.1, range: { first: 33, count: 50 } }),
  ],
};

interface SampleOptions {
  readonly step: number;
  readonly scale: number;
  readonly weightDecay: number;
  readonly range?: { readonly first: number; readonly count: number };
}

function sample(name: string, shape: readonly number[], options: SampleOptions): Sample {
  const full: TensorType = tensor('f32', ...shape);
  const state = options.range === undefined ? full : tensor('f32', options.range.count);
  const one = tensor('f32', 1);
  return {
    name,
    inputs: [full, full, state, state, one, tensor('i32', 1), one],
    attrs: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: options.weightDecay, first: options.range?.first ?? 0, seed: 0 },
    fill(index, random) {
      if (index === 3) return Array.from({ length: elementCount(state.shape) }, () => (options.step === 1 ? 0 : random()));
      return index === 4 ? [Math.fround(1e-2)] : index === 5 ? [options.step] : index === 6 ? [options.scale] : undefined;
    },
  };
}

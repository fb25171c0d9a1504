/** Lion (Chen et al. 2023, algorithm 2): the sign of an interpolated momentum. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor } from '../graph/shape.ts';
import { attr, type Op } from './op.ts';
import { expectParameter, expectRange, expectScalars, expectState, rangeAttrs, replaceRange, updateBytes, type RangedUpdate } from './parameter-update.ts';
import { at, expectCount } from './rules.ts';
import { updateSamples } from './update-samples.ts';

export interface LionUpdate extends RangedUpdate {
  /** f32, of the parameter's shape or a range of it, overwritten; 0 before the first step. */
  readonly momentum: ValueId;
  readonly beta1: number;
  readonly beta2: number;
}

export interface LionResult {
  readonly parameter: ValueId;
  readonly momentum: ValueId;
}

const OVERWRITES = [{ output: 0, input: 0 }, { output: 1, input: 2 }];

/** g = gradient·gradientScale; p ← p·(1 − lr·wd) − lr·sign(β₁m + (1 − β₁)g); m ← β₂m + (1 − β₂)g. The sign of 0 is 0. */
export function lionUpdate(b: GraphBuilder, u: LionUpdate): LionResult {
  const attrs = { beta1: u.beta1, beta2: u.beta2, weightDecay: u.weightDecay, ...rangeAttrs(u) };
  const outputs = b.node('lion', [u.parameter, u.gradient, u.momentum, u.learningRate, u.step, u.gradientScale], attrs, { overwrites: OVERWRITES });
  return { parameter: at(outputs, 0), momentum: at(outputs, 1) };
}

const sample = updateSamples({
  state: (shape) => [tensor('f32', ...shape)],
  attrs: { beta1: 0.9, beta2: 0.99, seed: 12345 },
  element: (_index, random) => 2 * random() - 1,
});

export const lionOp: Op = {
  name: 'lion',
  attrs: ['beta1', 'beta2', 'weightDecay', 'first', 'seed'],
  infer(inputs, attrs) {
    expectCount(inputs, 6);
    for (const name of this.attrs) attr(attrs, name);
    const [parameter, momentum] = [at(inputs, 0), at(inputs, 2)];
    expectParameter(parameter, at(inputs, 1));
    expectState(parameter, [momentum], 'f32', 'momentum');
    expectRange(parameter, elementCount(momentum.shape), attrs);
    expectScalars(at(inputs, 3), at(inputs, 4), at(inputs, 5));
    return [parameter, momentum];
  },
  flops: (inputs) => 9 * elementCount(at(inputs, 2).shape),
  bytesMoved: (inputs) => updateBytes(at(inputs, 0), elementCount(at(inputs, 2).shape), 8 * elementCount(at(inputs, 2).shape)),
  mustOverwrite: () => OVERWRITES,
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [parameter, gradient, momentum] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
    const [rate, step, scale] = [at(inputs, 3)[0]!, at(inputs, 4)[0]!, at(inputs, 5)[0]!];
    const [beta1, beta2, first] = [attr(attrs, 'beta1'), attr(attrs, 'beta2'), attr(attrs, 'first')];
    const kept = 1 - rate * attr(attrs, 'weightDecay');
    const mixed = (beta: number): Float64Array => momentum.map((old, i) => beta * old + (1 - beta) * gradient[first + i]! * scale);
    const updated = mixed(beta1).map((direction, i) => parameter[first + i]! * kept - rate * Math.sign(direction));
    return [replaceRange(parameter, updated, at(types, 0), attrs, step), mixed(beta2)];
  },
  samples: [
    sample('size 1, first step', [1], { step: 1, weightDecay: 0 }),
    sample('odd size, decay', [3, 13], { step: 2, weightDecay: 0.1 }),
    sample('first step, nothing to do', [5, 7], { step: 1, weightDecay: 0.1, scale: 0 }),
    sample('more than a block', [33, 257], { step: 7, weightDecay: 0.1 }),
    sample('bf16, odd size', [3, 91], { step: 5, weightDecay: 0.1, dtype: 'bf16' }),
    sample('bf16, more than a block', [33, 257], { step: 7, weightDecay: 0.1, dtype: 'bf16' }),
    sample('a range', [7, 19], { step: 3, weightDecay: 0.1, first: 21, state: [50] }),
    sample('bf16, a range', [41, 19], { step: 3, weightDecay: 0.1, dtype: 'bf16', first: 250, state: [300] }),
  ],
};

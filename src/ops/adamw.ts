/** AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW computes it. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor } from '../graph/shape.ts';
import { attr, type Op } from './op.ts';
import { expectParameter, expectRange, expectScalars, expectState, rangeAttrs, replaceRange, updateBytes, type RangedUpdate } from './parameter-update.ts';
import { at, expectCount } from './rules.ts';
import { updateSamples } from './update-samples.ts';

export interface AdamwUpdate extends RangedUpdate {
  /** f32, of the parameter's shape or a range of it, overwritten; 0 before the first step. */
  readonly firstMoment: ValueId;
  /** As the first moment. */
  readonly secondMoment: ValueId;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
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
  const attrs = { beta1: u.beta1, beta2: u.beta2, epsilon: u.epsilon, weightDecay: u.weightDecay, ...rangeAttrs(u) };
  const outputs = b.node('adamw', inputs, attrs, { overwrites: OVERWRITES });
  return { parameter: at(outputs, 0), firstMoment: at(outputs, 1), secondMoment: at(outputs, 2) };
}

/** One element of AdamW, in f64: the new parameter, before it is stored, and both moments. */
export function adamwElement(
  old: { readonly parameter: number; readonly first: number; readonly second: number },
  gradient: number,
  c: { readonly beta1: number; readonly beta2: number; readonly epsilon: number; readonly weightDecay: number; readonly rate: number; readonly step: number },
): { readonly parameter: number; readonly first: number; readonly second: number } {
  const first = c.beta1 * old.first + (1 - c.beta1) * gradient;
  const second = c.beta2 * old.second + (1 - c.beta2) * gradient ** 2;
  const change = ((c.rate / (1 - c.beta1 ** c.step)) * first) / (Math.sqrt(second) / Math.sqrt(1 - c.beta2 ** c.step) + c.epsilon);
  return { parameter: old.parameter * (1 - c.rate * c.weightDecay) - change, first, second };
}

const sample = updateSamples({
  state: (shape) => [tensor('f32', ...shape), tensor('f32', ...shape)],
  attrs: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, seed: 3 * 65536 + 1 },
  element: (index, random) => (index === 0 ? 2 * random() - 1 : random()),
});

export const adamwOp: Op = {
  name: 'adamw',
  attrs: ['beta1', 'beta2', 'epsilon', 'weightDecay', 'first', 'seed'],
  infer(inputs, attrs) {
    expectCount(inputs, 7);
    for (const name of this.attrs) attr(attrs, name);
    const [parameter, first, second] = [at(inputs, 0), at(inputs, 2), at(inputs, 3)];
    expectParameter(parameter, at(inputs, 1));
    expectState(parameter, [first, second], 'f32', 'moments');
    expectRange(parameter, elementCount(first.shape), attrs);
    expectScalars(at(inputs, 4), at(inputs, 5), at(inputs, 6));
    return [parameter, first, second];
  },
  flops: (inputs) => 14 * elementCount(at(inputs, 2).shape),
  bytesMoved: (inputs) => updateBytes(at(inputs, 0), elementCount(at(inputs, 2).shape), 16 * elementCount(at(inputs, 2).shape)),
  mustOverwrite: () => OVERWRITES,
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [parameter, gradient, first, second] = [at(inputs, 0), at(inputs, 1), at(inputs, 2).slice(), at(inputs, 3).slice()];
    const [rate, step, scale] = [at(inputs, 4)[0]!, at(inputs, 5)[0]!, at(inputs, 6)[0]!];
    const constants = {
      beta1: attr(attrs, 'beta1'), beta2: attr(attrs, 'beta2'), epsilon: attr(attrs, 'epsilon'), weightDecay: attr(attrs, 'weightDecay'), rate, step,
    };
    const from = attr(attrs, 'first');
    const updated = first.map((_, i) => {
      const element = adamwElement({ parameter: parameter[from + i]!, first: first[i]!, second: second[i]! }, gradient[from + i]! * scale, constants);
      [first[i], second[i]] = [element.first, element.second];
      return element.parameter;
    });
    return [replaceRange(parameter, updated, at(types, 0), attrs, step), first, second];
  },
  samples: [
    sample('size 1, first step', [1], { step: 1, scale: 1, weightDecay: 0 }),
    sample('odd size, decay', [3, 13], { step: 1, scale: 1, weightDecay: 0.1 }),
    sample('clipped, later step', [7, 19], { step: 1000, scale: 0.25, weightDecay: 0.01 }),
    sample('more than a block', [33, 257], { step: 7, scale: 1, weightDecay: 0.1 }),
    sample('bf16, size 1', [1], { step: 1, scale: 1, weightDecay: 0, dtype: 'bf16' }),
    sample('bf16, odd size', [3, 91], { step: 5, scale: 0.5, weightDecay: 0.1, dtype: 'bf16' }),
    sample('bf16, more than a block', [33, 257], { step: 7, scale: 1, weightDecay: 0.1, dtype: 'bf16' }),
    sample('a range', [7, 19], { step: 3, scale: 1, weightDecay: 0.1, first: 21, state: [50] }),
    sample('bf16, a range', [41, 19], { step: 3, scale: 1, weightDecay: 0.1, dtype: 'bf16', first: 250, state: [300] }),
  ],
};

/** Stochastic gradient descent with momentum (Sutskever et al. 2013), as torch.optim.SGD computes it. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { expectParameter, expectRange, expectScalars, expectState, rangeAttrs, replaceRange, updateBytes, type RangedUpdate } from './parameter-update.ts';
import { at, expectCount } from './rules.ts';

export interface SgdUpdate extends RangedUpdate {
  /** f32, of the parameter's shape or a range of it, overwritten; 0 before the first step. Given exactly when `momentum` > 0. */
  readonly momentumBuffer?: ValueId;
  readonly momentum: number;
}

export interface SgdResult {
  readonly parameter: ValueId;
  readonly momentumBuffer?: ValueId;
}

/** g = gradient·gradientScale + wd·p; m ← μ·m + g; p ← p − lr·m. Without momentum m is g, and the whole parameter is updated. */
export function sgdUpdate(b: GraphBuilder, u: SgdUpdate): SgdResult {
  const buffer = u.momentumBuffer === undefined ? [] : [u.momentumBuffer];
  const attrs = { momentum: u.momentum, weightDecay: u.weightDecay, ...rangeAttrs(u) };
  const inputs = [u.parameter, u.gradient, u.learningRate, u.step, u.gradientScale, ...buffer];
  const outputs = b.node('sgd', inputs, attrs, { overwrites: overwritesOf(attrs) });
  return { parameter: at(outputs, 0), ...(outputs[1] === undefined ? {} : { momentumBuffer: outputs[1] }) };
}

function hasBuffer(attrs: Attrs): boolean {
  return attr(attrs, 'momentum') > 0;
}

function overwritesOf(attrs: Attrs): readonly { output: number; input: number }[] {
  return hasBuffer(attrs) ? [{ output: 0, input: 0 }, { output: 1, input: 5 }] : [{ output: 0, input: 0 }];
}

/** How many elements are updated. */
function updated(inputs: readonly TensorType[]): number {
  return elementCount((inputs[5] ?? at(inputs, 0)).shape);
}

export const sgdOp: Op = {
  name: 'sgd',
  attrs: ['momentum', 'weightDecay', 'first', 'seed'],
  infer(inputs, attrs) {
    const momentum = attr(attrs, 'momentum');
    expect(momentum >= 0, `momentum must be 0 or more, got ${momentum}`);
    attr(attrs, 'weightDecay');
    expectCount(inputs, hasBuffer(attrs) ? 6 : 5);
    const parameter = at(inputs, 0);
    expectParameter(parameter, at(inputs, 1));
    expectScalars(at(inputs, 2), at(inputs, 3), at(inputs, 4));
    expectRange(parameter, updated(inputs), attrs);
    if (!hasBuffer(attrs)) return [parameter];
    expectState(parameter, [at(inputs, 5)], 'f32', 'momentum');
    return [parameter, at(inputs, 5)];
  },
  flops: (inputs) => 7 * updated(inputs),
  bytesMoved: (inputs) => updateBytes(at(inputs, 0), updated(inputs), inputs.length > 5 ? 8 * updated(inputs) : 0),
  mustOverwrite: overwritesOf,
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [parameter, gradient, buffer] = [at(inputs, 0), at(inputs, 1), inputs[5]];
    const [rate, step, scale] = [at(inputs, 2)[0]!, at(inputs, 3)[0]!, at(inputs, 4)[0]!];
    const [momentum, first] = [attr(attrs, 'momentum'), attr(attrs, 'first')];
    const change = (buffer ?? parameter).map((old, i) => {
      const g = gradient[first + i]! * scale + attr(attrs, 'weightDecay') * parameter[first + i]!;
      return buffer === undefined ? g : momentum * old + g;
    });
    const after = replaceRange(parameter, change.map((m, i) => parameter[first + i]! - rate * m), at(types, 0), attrs, step);
    return buffer === undefined ? [after] : [after, change];
  },
  samples: [
    sample('size 1', [1], { momentum: 0, weightDecay: 0 }),
    sample('odd size, decay', [3, 13], { momentum: 0, weightDecay: 0.1 }),
    sample('momentum', [7, 19], { momentum: 0.9, weightDecay: 0.01 }),
    sample('more than a block', [33, 257], { momentum: 0.9, weightDecay: 0 }),
    sample('bf16, odd size', [3, 91], { momentum: 0, weightDecay: 0.1, dtype: 'bf16' }),
    sample('bf16, momentum', [33, 257], { momentum: 0.9, weightDecay: 0.1, dtype: 'bf16' }),
    sample('a range', [7, 19], { momentum: 0.9, weightDecay: 0.1, first: 21, state: [50] }),
    sample('bf16, a range', [41, 19], { momentum: 0.9, weightDecay: 0.1, dtype: 'bf16', first: 250, state: [300] }),
  ],
};

interface SampleOptions {
  readonly momentum: number;
  readonly weightDecay: number;
  readonly dtype?: 'f32' | 'bf16';
  readonly first?: number;
  readonly state?: readonly number[];
}

function sample(name: string, shape: readonly number[], { momentum, weightDecay, dtype = 'f32', first = 0, state = shape }: SampleOptions): Sample {
  const one = tensor('f32', 1);
  return {
    name,
    inputs: [tensor(dtype, ...shape), tensor('f32', ...shape), one, tensor('i32', 1), one, ...(momentum > 0 ? [tensor('f32', ...state)] : [])],
    attrs: { momentum, weightDecay, first, seed: 9 },
    fill: (index) => (index === 2 ? [Math.fround(0.05)] : index === 3 ? [4] : index === 4 ? [0.5] : undefined),
  };
}

/** Stochastic gradient descent with momentum (Sutskever et al. 2013), as torch.optim.SGD computes it. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { elementCount, tensor } from '../graph/shape.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFloat, expectState, expectType } from './rules.ts';

export interface SgdUpdate {
  /** Any float type; overwritten. */
  readonly parameter: ValueId;
  /** f32, of the parameter's shape. */
  readonly gradient: ValueId;
  /** f32, of the parameter's shape or of its elements from `first` on, overwritten; 0 before the first step. Given exactly when `momentum` > 0. */
  readonly momentumBuffer?: ValueId;
  /** f32 [1]. */
  readonly learningRate: ValueId;
  /** f32 [1]: multiplies the gradient (clipping). */
  readonly gradientScale: ValueId;
  readonly momentum: number;
  readonly weightDecay: number;
  /** The first element that is updated; default 0. As many are as the momentum has. */
  readonly first?: number;
}

export interface SgdResult {
  readonly parameter: ValueId;
  readonly momentumBuffer?: ValueId;
}

/** g = gradient·gradientScale + wd·p; m ← μ·m + g; p ← p − lr·m. Without momentum m is g. A momentum that is shorter than the parameter: see adamw. */
export function sgdUpdate(b: GraphBuilder, u: SgdUpdate): SgdResult {
  const buffer = u.momentumBuffer === undefined ? [] : [u.momentumBuffer];
  const attrs = { momentum: u.momentum, weightDecay: u.weightDecay, first: u.first ?? 0 };
  const inputs = [u.parameter, u.gradient, ...buffer, u.learningRate, u.gradientScale];
  const outputs = b.node('sgd', inputs, attrs, { overwrites: overwritesOf(attrs) });
  return { parameter: at(outputs, 0), ...(outputs[1] === undefined ? {} : { momentumBuffer: outputs[1] }) };
}

function hasBuffer(attrs: Attrs): boolean {
  return attr(attrs, 'momentum') > 0;
}

function overwritesOf(attrs: Attrs): readonly { output: number; input: number }[] {
  return hasBuffer(attrs) ? [{ output: 0, input: 0 }, { output: 1, input: 2 }] : [{ output: 0, input: 0 }];
}

export const sgdOp: Op = {
  name: 'sgd',
  attrs: ['momentum', 'weightDecay', 'first'],
  infer(inputs, attrs) {
    const momentum = attr(attrs, 'momentum');
    expect(momentum >= 0, `momentum must be 0 or more, got ${momentum}`);
    attr(attrs, 'weightDecay');
    const rest = hasBuffer(attrs) ? 3 : 2;
    expectCount(inputs, rest + 2);
    const parameter = at(inputs, 0);
    expectFloat(parameter, 'parameter');
    expectType(at(inputs, 1), 'f32', parameter.shape, 'gradient');
    expectType(at(inputs, rest), 'f32', [1], 'learning rate');
    expectType(at(inputs, rest + 1), 'f32', [1], 'gradient scale');
    const first = attr(attrs, 'first');
    if (!hasBuffer(attrs)) {
      expect(first === 0, `without momentum the whole parameter is updated, not from element ${first}`);
      return [parameter];
    }
    expectState(at(inputs, 2), parameter, first, 'momentum');
    return [parameter, at(inputs, 2)];
  },
  flops: (inputs, _, attrs) => 7 * elementCount(at(inputs, hasBuffer(attrs) ? 2 : 0).shape),
  bytesMoved: (inputs, _, attrs) => (hasBuffer(attrs) ? 20 * elementCount(at(inputs, 2).shape) : 12 * elementCount(at(inputs, 0).shape)),
  mustOverwrite: overwritesOf,
  bound: 'memory',
  reference(inputs, attrs) {
    const [parameter, gradient] = [at(inputs, 0), at(inputs, 1)];
    const rest = hasBuffer(attrs) ? 3 : 2;
    const [rate, scale] = [at(inputs, rest)[0]!, at(inputs, rest + 1)[0]!];
    const momentum = attr(attrs, 'momentum');
    const g = gradient.map((element, i) => element * scale + attr(attrs, 'weightDecay') * parameter[i]!);
    if (!hasBuffer(attrs)) return [parameter.map((old, i) => old - rate * g[i]!)];
    const start = attr(attrs, 'first');
    const m = at(inputs, 2).map((old, i) => momentum * old + g[start + i]!);
    const p = parameter.slice();
    m.forEach((step, i) => (p[start + i] = p[start + i]! - rate * step));
    return [p, m];
  },
  samples: [
    sample('size 1', [1], { momentum: 0, weightDecay: 0, first: 0 }),
    sample('odd size, decay', [3, 13], { momentum: 0, weightDecay: 0.1, first: 0 }),
    sample('momentum', [7, 19], { momentum: 0.9, weightDecay: 0.01, first: 0 }),
    sample('more than a block', [33, 257], { momentum: 0.9, weightDecay: 0, first: 0 }),
    sample('a range', [7, 19], { momentum: 0.9, weightDecay: 0.1, first: 33 }, 50),
  ],
};

function sample(name: string, shape: readonly number[], attrs: Attrs, stateCount?: number): Sample {
  const full = tensor('f32', ...shape);
  const buffer = hasBuffer(attrs) ? [stateCount === undefined ? full : tensor('f32', stateCount)] : [];
  const inputs = [full, full, ...buffer, tensor('f32', 1), tensor('f32', 1)];
  return {
    name,
    inputs,
    attrs,
    fill: (index) => (index === inputs.length - 2 ? [Math.fround(0.05)] : index === inputs.length - 1 ? [0.5] : undefined),
  };
}

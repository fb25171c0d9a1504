/** RMSNorm (Zhang & Sennrich 2019), over the whole last axis or over groups of it. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, lastAxis, tensor, type TensorType } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import {
  accumulates, at, axis, expectCount, expectFlag, expectFloat, expectLike, expectPositiveInteger, expectRank, expectType, only, outputGradient, tokenSum,
} from './rules.ts';

/**
 * RMSNorm over each group of W along the last axis: y = x · rstd · weight, rstd = 1/√(mean(x²) + epsilon).
 *   x [...,M·W], weight [W] → y [...,M·W], rstd f32 [...,M] (saved for backward)
 * M is 1 but for norms of single heads (Qwen3), where W is the head width. Memory-bound, cheap to recompute.
 */
export function rmsNorm(b: GraphBuilder, x: ValueId, weight: ValueId, options: { readonly epsilon: number }): ValueId {
  return only(b.node('rmsnorm', [x, weight], { epsilon: options.epsilon }));
}

function rstdOf(x: TensorType, width: number): TensorType {
  return tensor('f32', ...x.shape.slice(0, -1), lastAxis(x.shape) / width);
}

function expectGroups(x: TensorType, width: number): void {
  expectFloat(x, 'x');
  expect(x.shape.length > 0 && width > 0 && lastAxis(x.shape) % width === 0, `x's last axis must be a multiple of the weight's ${width}`);
}

export const rmsNormOp: Op = {
  name: 'rmsnorm',
  attrs: ['epsilon'],
  infer(inputs, attrs) {
    expectCount(inputs, 2);
    const [x, weight] = [at(inputs, 0), at(inputs, 1)];
    attr(attrs, 'epsilon');
    expectRank(weight, 1, 'weight');
    expectType(weight, 'f32', weight.shape, 'weight');
    expectGroups(x, axis(weight, 0));
    return [x, rstdOf(x, axis(weight, 0))];
  },
  flops: (inputs) => 4 * elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    const { builder, node } = context;
    const [x, weight, rstd] = [at(node.inputs, 0), at(node.inputs, 1), at(node.outputs, 1)];
    const width = axis(builder.type(weight), 0);
    const dx = context.needs(0) ? only(builder.node('rmsnorm_backward', [x, weight, rstd, dy])) : undefined;
    return [dx, tokenSum(context, 1, 'rmsnorm_weight_gradient', [x, rstd, dy], { width })];
  },
  saved: { inputs: [0, 1], outputs: [1] },
  bound: 'memory',
  reference(inputs, attrs) {
    const [x, weight] = [at(inputs, 0), at(inputs, 1)];
    const width = weight.length;
    const y = new Float64Array(x.length);
    const rstd = new Float64Array(x.length / width);
    for (let group = 0; group < rstd.length; group++) {
      let squares = 0;
      for (let j = 0; j < width; j++) squares += x[group * width + j]! ** 2;
      rstd[group] = 1 / Math.sqrt(squares / width + attr(attrs, 'epsilon'));
      for (let j = 0; j < width; j++) y[group * width + j] = x[group * width + j]! * rstd[group]! * weight[j]!;
    }
    return [y, rstd];
  },
  samples: inEveryPrecision(cases((x, width) => ({ inputs: [x, tensor('f32', width)], attrs: { epsilon: 1e-5 } })), { activations: [0], rounds: true }),
};

/** x [...,M·W], weight [W], rstd f32 [...,M], dy [...,M·W] → dx = rstd·(weight·dy − x·rstd²·mean(weight·dy·x)). */
export const rmsNormBackwardOp: Op = {
  name: 'rmsnorm_backward',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 4);
    const [x, weight, rstd, dy] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)];
    expectRank(weight, 1, 'weight');
    expectType(weight, 'f32', weight.shape, 'weight');
    expectGroups(x, axis(weight, 0));
    expectType(rstd, 'f32', rstdOf(x, axis(weight, 0)).shape, 'rstd');
    expectLike(dy, x, 'dy');
    return [x];
  },
  flops: (inputs) => 8 * elementCount(at(inputs, 0).shape),
  bound: 'memory',
  reference(inputs) {
    const [x, weight, rstd, dy] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)];
    const width = weight.length;
    const dx = new Float64Array(x.length);
    for (let group = 0; group < rstd.length; group++) {
      const r = rstd[group]!;
      const start = group * width;
      let product = 0;
      for (let j = 0; j < width; j++) product += weight[j]! * dy[start + j]! * x[start + j]!;
      const pull = (r * r * product) / width;
      for (let j = 0; j < width; j++) dx[start + j] = r * (weight[j]! * dy[start + j]! - x[start + j]! * pull);
    }
    return [dx];
  },
  samples: inEveryPrecision(
    cases((x, width) => ({ inputs: [x, tensor('f32', width), rstdOf(x, width), x], attrs: {} })),
    { activations: [0, 3], rounds: true },
  ),
};

/** x [B,T,M·W], rstd f32 [B,T,M], dy [B,T,M·W], (c f32 [W]) → dweight f32 [W] = Σ over tokens and groups dy·x·rstd (+ c in c's bytes). */
export const rmsNormWeightGradientOp: Op = {
  name: 'rmsnorm_weight_gradient',
  attrs: ['width', 'accumulate'],
  infer(inputs, attrs) {
    const [width, accumulate] = [attr(attrs, 'width'), attr(attrs, 'accumulate')];
    expectPositiveInteger(width, 'width');
    expectFlag(accumulate, 'accumulate');
    expectCount(inputs, 3 + accumulate);
    const x = at(inputs, 0);
    expectRank(x, 3, 'x');
    expectGroups(x, width);
    expectType(at(inputs, 1), 'f32', rstdOf(x, width).shape, 'rstd');
    expectLike(at(inputs, 2), x, 'dy');
    if (accumulate === 1) expectType(at(inputs, 3), 'f32', [width], 'c');
    return [tensor('f32', width)];
  },
  flops: (inputs) => 3 * elementCount(at(inputs, 0).shape),
  mustOverwrite: (attrs) => accumulates(attrs, 3),
  bound: 'memory',
  reference(inputs, attrs) {
    const [x, rstd, dy] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
    const width = attr(attrs, 'width');
    const dweight = attr(attrs, 'accumulate') === 1 ? at(inputs, 3).slice() : new Float64Array(width);
    x.forEach((element, index) => (dweight[index % width]! += dy[index]! * element * rstd[Math.floor(index / width)]!));
    return [dweight];
  },
  samples: inEveryPrecision([0, 1].flatMap((accumulate) =>
    cases((x, width) => {
      const plain = [x, rstdOf(x, width), x];
      return { inputs: accumulate === 1 ? [...plain, tensor('f32', width)] : plain, attrs: { width, accumulate } };
    }).map((sample) => (accumulate === 1 ? { ...sample, name: `${sample.name}, accumulating` } : sample)),
  ), { activations: [0, 2], rounds: false }),
};

function cases(build: (x: TensorType, width: number) => Pick<Sample, 'inputs' | 'attrs'>): readonly Sample[] {
  const one = (name: string, width: number, ...shape: number[]): Sample => ({ name, ...build(tensor('f32', ...shape), width) });
  return [
    one('size 1', 1, 1, 1, 1),
    one('odd sizes', 13, 3, 5, 13),
    one('several heads', 24, 2, 7, 72),
    one('short rows', 65, 3, 50, 65),
    one('long rows', 20, 2, 391, 20),
    one('wide rows', 1043, 1, 3, 1043),
  ];
}

/** LayerNorm (Ba, Kiros & Hinton 2016) over the last axis. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, lastAxis, tensor, type TensorType } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, type Op, type Sample } from './op.ts';
import {
  accumulates, at, expectCount, expectFlag, expectFloat, expectLike, expectRank, expectType, only, outputGradient, tokenSum,
} from './rules.ts';

/**
 * y = (x − mean)·rstd·weight + bias, rstd = 1/√(variance + epsilon), the variance over W without Bessel's correction.
 *   x [...,W], weight [W], bias [W] → y [...,W], mean f32 [...], rstd f32 [...] (both saved for backward)
 */
export function layerNorm(b: GraphBuilder, x: ValueId, weight: ValueId, bias: ValueId, options: { readonly epsilon: number }): ValueId {
  return only(b.node('layernorm', [x, weight, bias], { epsilon: options.epsilon }));
}

function statistics(x: TensorType): TensorType {
  return tensor('f32', ...x.shape.slice(0, -1));
}

function expectRows(x: TensorType): void {
  expectFloat(x, 'x');
  if (x.shape.length < 2) expectRank(x, 2, 'x');
}

export const layerNormOp: Op = {
  name: 'layernorm',
  attrs: ['epsilon'],
  infer(inputs, attrs) {
    expectCount(inputs, 3);
    const x = at(inputs, 0);
    attr(attrs, 'epsilon');
    expectRows(x);
    expectType(at(inputs, 1), 'f32', [lastAxis(x.shape)], 'weight');
    expectType(at(inputs, 2), 'f32', [lastAxis(x.shape)], 'bias');
    return [x, statistics(x), statistics(x)];
  },
  flops: (inputs) => 7 * elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    const { builder, node } = context;
    const [x, weight] = [at(node.inputs, 0), at(node.inputs, 1)];
    const [mean, rstd] = [at(node.outputs, 1), at(node.outputs, 2)];
    const dx = context.needs(0) ? only(builder.node('layernorm_backward', [x, weight, mean, rstd, dy])) : undefined;
    const dweight = tokenSum(context, 1, 'layernorm_weight_gradient', [x, mean, rstd, dy]);
    return [dx, dweight, tokenSum(context, 2, 'column_sum', [dy])];
  },
  saved: { inputs: [0, 1], outputs: [1, 2] },
  bound: 'memory',
  reference(inputs, attrs) {
    const [x, weight, bias] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
    const width = weight.length;
    const rows = x.length / width;
    const y = new Float64Array(x.length);
    const means = new Float64Array(rows);
    const rstds = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      const of = x.subarray(row * width, (row + 1) * width);
      const mean = of.reduce((sum, element) => sum + element, 0) / width;
      const variance = of.reduce((sum, element) => sum + (element - mean) ** 2, 0) / width;
      const rstd = 1 / Math.sqrt(variance + attr(attrs, 'epsilon'));
      for (let j = 0; j < width; j++) y[row * width + j] = (of[j]! - mean) * rstd * weight[j]! + bias[j]!;
      means[row] = mean;
      rstds[row] = rstd;
    }
    return [y, means, rstds];
  },
  samples: inEveryPrecision(
    cases((x, width) => ({ inputs: [x, tensor('f32', width), tensor('f32', width)], attrs: { epsilon: 1e-5 } })),
    { activations: [0], rounds: true },
  ),
};

/** x, weight, mean, rstd, dy → dx = rstd·(g − mean(g) − x̂·mean(g·x̂)) with g = weight·dy and x̂ = (x − mean)·rstd. */
export const layerNormBackwardOp: Op = {
  name: 'layernorm_backward',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 5);
    const x = at(inputs, 0);
    expectRows(x);
    expectType(at(inputs, 1), 'f32', [lastAxis(x.shape)], 'weight');
    expectType(at(inputs, 2), 'f32', statistics(x).shape, 'mean');
    expectType(at(inputs, 3), 'f32', statistics(x).shape, 'rstd');
    expectLike(at(inputs, 4), x, 'dy');
    return [x];
  },
  flops: (inputs) => 11 * elementCount(at(inputs, 0).shape),
  bound: 'memory',
  reference(inputs) {
    const [x, weight, mean, rstd, dy] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3), at(inputs, 4)];
    const width = weight.length;
    const dx = new Float64Array(x.length);
    for (let row = 0; row < rstd.length; row++) {
      const start = row * width;
      const normal = (j: number): number => (x[start + j]! - mean[row]!) * rstd[row]!;
      let sum = 0;
      let product = 0;
      for (let j = 0; j < width; j++) {
        const g = weight[j]! * dy[start + j]!;
        sum += g;
        product += g * normal(j);
      }
      for (let j = 0; j < width; j++) dx[start + j] = rstd[row]! * (weight[j]! * dy[start + j]! - sum / width - (normal(j) * product) / width);
    }
    return [dx];
  },
  samples: inEveryPrecision(
    cases((x, width) => ({ inputs: [x, tensor('f32', width), statistics(x), statistics(x), x], attrs: {} })),
    { activations: [0, 4], rounds: true },
  ),
};

/** x [B,T,W], mean f32 [B,T], rstd f32 [B,T], dy [B,T,W], (c f32 [W]) → dweight f32 [W] = Σ over tokens dy·(x − mean)·rstd (+ c in c's bytes). */
export const layerNormWeightGradientOp: Op = {
  name: 'layernorm_weight_gradient',
  attrs: ['accumulate'],
  infer(inputs, attrs) {
    const accumulate = attr(attrs, 'accumulate');
    expectFlag(accumulate, 'accumulate');
    expectCount(inputs, 4 + accumulate);
    const x = at(inputs, 0);
    expectRank(x, 3, 'x');
    expectFloat(x, 'x');
    expectType(at(inputs, 1), 'f32', statistics(x).shape, 'mean');
    expectType(at(inputs, 2), 'f32', statistics(x).shape, 'rstd');
    expectLike(at(inputs, 3), x, 'dy');
    if (accumulate === 1) expectType(at(inputs, 4), 'f32', [lastAxis(x.shape)], 'c');
    return [tensor('f32', lastAxis(x.shape))];
  },
  flops: (inputs) => 4 * elementCount(at(inputs, 0).shape),
  mustOverwrite: (attrs) => accumulates(attrs, 4),
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [x, mean, rstd, dy] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)];
    const width = lastAxis(at(types, 0).shape);
    const dweight = attr(attrs, 'accumulate') === 1 ? at(inputs, 4).slice() : new Float64Array(width);
    x.forEach((element, index) => {
      const row = Math.floor(index / width);
      dweight[index % width]! += dy[index]! * (element - mean[row]!) * rstd[row]!;
    });
    return [dweight];
  },
  samples: inEveryPrecision([0, 1].flatMap((accumulate) =>
    cases((x, width) => {
      const plain = [x, statistics(x), statistics(x), x];
      return { inputs: accumulate === 1 ? [...plain, tensor('f32', width)] : plain, attrs: { accumulate } };
    }).map((sample) => (accumulate === 1 ? { ...sample, name: `${sample.name}, accumulating` } : sample)),
  ), { activations: [0, 3], rounds: false }),
};

function cases(build: (x: TensorType, width: number) => Pick<Sample, 'inputs' | 'attrs'>): readonly Sample[] {
  const one = (name: string, ...shape: number[]): Sample => ({ name, ...build(tensor('f32', ...shape), lastAxis(shape)) });
  return [one('size 1', 1, 1, 1), one('odd sizes', 3, 5, 13), one('short rows', 3, 50, 65), one('long rows', 2, 391, 20), one('wide rows', 1, 3, 1043)];
}

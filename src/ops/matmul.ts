/**
 * Matrix products: NN and NT for activations, TN for the gradient of a weight, and the column sum for that of a bias.
 * Operands may be stored in f32, bf16 or f16; sums are f32.
 */

import type { GraphBuilder } from '../graph/builder.ts';
import type { DType } from '../graph/dtype.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { elementCount, lastAxis, leadingCount, tensor, type TensorType } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, expect, type Op, type Sample, type VjpContext } from './op.ts';
import {
  accumulates, at, axis, expectCount, expectFlag, expectFloat, expectFloatShape, expectRank, expectType, only, outputGradient, tokenSum,
} from './rules.ts';

/** The linear layer in Hugging Face layout: x [...,K], weight [M,K], (bias [M]) → y [...,M] = x · weightᵀ + bias. */
export function linear(b: GraphBuilder, x: ValueId, weight: ValueId, bias?: ValueId): ValueId {
  return product(b, 'matmul_nt', x, weight, bias);
}

/** GPT-2's Conv1D: x [...,K], weight [K,M], (bias [M]) → y [...,M] = x · weight + bias. */
export function conv1d(b: GraphBuilder, x: ValueId, weight: ValueId, bias?: ValueId): ValueId {
  return product(b, 'matmul_nn', x, weight, bias);
}

function product(b: GraphBuilder, op: string, x: ValueId, weight: ValueId, bias: ValueId | undefined): ValueId {
  return only(bias === undefined ? b.node(op, [x, weight], { bias: 0 }) : b.node(op, [x, weight, bias], { bias: 1 }));
}

function inferProduct(inputs: readonly TensorType[], attrs: Attrs, weightAxes: { readonly summed: number; readonly kept: number }): readonly TensorType[] {
  const bias = attr(attrs, 'bias');
  expectFlag(bias, 'bias');
  expectCount(inputs, 2 + bias);
  const [a, weight] = [at(inputs, 0), at(inputs, 1)];
  expectFloat(a, 'a');
  expectFloat(weight, 'b');
  expectRank(weight, 2, 'b');
  const [summed, width] = [axis(weight, weightAxes.summed), axis(weight, weightAxes.kept)];
  expect(a.shape.length >= 2 && lastAxis(a.shape) === summed, `a's last axis must be ${summed} wide, as b asks`);
  if (bias === 1) expectFloatShape(at(inputs, 2), [width], 'bias');
  return [{ dtype: a.dtype, shape: [...a.shape.slice(0, -1), width] }];
}

const productFlops: Op['flops'] = (inputs, outputs) => 2 * lastAxis(at(inputs, 0).shape) * elementCount(at(outputs, 0).shape);

/** a [...,K], b [K,M], (bias [M]) → y [...,M] = a·b + bias. */
export const matmulNnOp: Op = {
  name: 'matmul_nn',
  attrs: ['bias'],
  infer: (inputs, attrs) => inferProduct(inputs, attrs, { summed: 0, kept: 1 }),
  flops: productFlops,
  vjp: (context) => productGradients(context, 'matmul_nt', (x, dy) => [x, dy]),
  saved: { inputs: [0, 1], outputs: [] },
  bound: 'compute',
  reference(inputs, _attrs, types, outputTypes) {
    const size = sizes(types, outputTypes);
    return [multiply(inputs, { ...size, weightStep: { summed: size.width, kept: 1 } })];
  },
  samples: productSamples((summed, width) => [summed, width]),
};

/** a [...,K], b [M,K], (bias [M]) → y [...,M] = a·bᵀ + bias. */
export const matmulNtOp: Op = {
  name: 'matmul_nt',
  attrs: ['bias'],
  infer: (inputs, attrs) => inferProduct(inputs, attrs, { summed: 1, kept: 0 }),
  flops: productFlops,
  vjp: (context) => productGradients(context, 'matmul_nn', (x, dy) => [dy, x]),
  saved: { inputs: [0, 1], outputs: [] },
  bound: 'compute',
  reference(inputs, _attrs, types, outputTypes) {
    const size = sizes(types, outputTypes);
    return [multiply(inputs, { ...size, weightStep: { summed: 1, kept: size.summed } })];
  },
  samples: productSamples((summed, width) => [width, summed]),
};

/** dx by the product with the weight turned round, dweight summed over tokens with the factors in the weight's own layout. */
function productGradients(context: VjpContext, turned: string, factors: (x: ValueId, dy: ValueId) => readonly ValueId[]): readonly (ValueId | undefined)[] {
  const dy = outputGradient(context);
  const { builder, node } = context;
  const [x, weight] = [at(node.inputs, 0), at(node.inputs, 1)];
  const dx = context.needs(0) ? only(builder.node(turned, [dy, weight], { bias: 0 })) : undefined;
  const dweight = tokenSum(context, 1, 'matmul_tn', factors(x, dy));
  return attr(node.attrs, 'bias') === 1 ? [dx, dweight, tokenSum(context, 2, 'column_sum', [dy])] : [dx, dweight];
}

function sizes(types: readonly TensorType[], outputTypes: readonly TensorType[]): { rows: number; summed: number; width: number } {
  const a = at(types, 0);
  return { rows: leadingCount(a.shape), summed: lastAxis(a.shape), width: lastAxis(at(outputTypes, 0).shape) };
}

interface ProductSizes {
  readonly rows: number;
  readonly summed: number;
  readonly width: number;
  /** Distance in b between neighbours along its summed and its kept axis. */
  readonly weightStep: { readonly summed: number; readonly kept: number };
}

function multiply(inputs: readonly Float64Array[], { rows, summed, width, weightStep }: ProductSizes): Float64Array {
  const [a, b, bias] = [at(inputs, 0), at(inputs, 1), inputs[2]];
  const y = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      for (let k = 0; k < summed; k++) sum += a[row * summed + k]! * b[k * weightStep.summed + column * weightStep.kept]!;
      y[row * width + column] = bias === undefined ? sum : sum + bias[column]!;
    }
  }
  return y;
}

/** a [B,T,M], b [B,T,K], (c f32 [M,K]) → y f32 [M,K] = Σ over tokens aᵀ·b (+ c in c's bytes). Cut as `token-blocks.ts` says. */
export const matmulTnOp: Op = {
  name: 'matmul_tn',
  attrs: ['accumulate'],
  infer(inputs, attrs) {
    const accumulate = attr(attrs, 'accumulate');
    expectFlag(accumulate, 'accumulate');
    expectCount(inputs, 2 + accumulate);
    const [a, b] = [at(inputs, 0), at(inputs, 1)];
    expectRank(a, 3, 'a');
    expectFloat(a, 'a');
    expectFloatShape(b, [axis(a, 0), axis(a, 1), lastAxis(b.shape)], 'b');
    const y = tensor('f32', axis(a, 2), axis(b, 2));
    if (accumulate === 1) expectType(at(inputs, 2), 'f32', y.shape, 'c');
    return [y];
  },
  flops: (inputs, outputs) => 2 * leadingCount(at(inputs, 0).shape) * elementCount(at(outputs, 0).shape),
  mustOverwrite: (attrs) => accumulates(attrs, 2),
  bound: 'compute',
  reference(inputs, attrs, types, outputTypes) {
    const [a, b] = [at(inputs, 0), at(inputs, 1)];
    const [rows, columns] = [axis(at(outputTypes, 0), 0), axis(at(outputTypes, 0), 1)];
    const y = attr(attrs, 'accumulate') === 1 ? at(inputs, 2).slice() : new Float64Array(rows * columns);
    for (let token = 0; token < leadingCount(at(types, 0).shape); token++) {
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) y[i * columns + j]! += a[token * rows + i]! * b[token * columns + j]!;
      }
    }
    return [y];
  },
  samples: [0, 1].flatMap((accumulate) => [
    sumSample('size 1', [1, 1], [1, 1], accumulate),
    sumSample('odd sizes', [3, 7], [5, 17], accumulate),
    sumSample('long rows, blocks within a row', [2, 389], [19, 23], accumulate),
    sumSample('short rows joined', [5, 100], [33, 65], accumulate),
    sumSample('bf16', [2, 37], [24, 40], accumulate, 'bf16'),
    sumSample('f16', [1, 130], [17, 9], accumulate, 'f16'),
  ]),
};

/** x [B,T,M], (c f32 [M]) → y f32 [M] = Σ over tokens x (+ c in c's bytes). */
export const columnSumOp: Op = {
  name: 'column_sum',
  attrs: ['accumulate'],
  infer(inputs, attrs) {
    const accumulate = attr(attrs, 'accumulate');
    expectFlag(accumulate, 'accumulate');
    expectCount(inputs, 1 + accumulate);
    const x = at(inputs, 0);
    expectRank(x, 3, 'x');
    expectFloat(x, 'x');
    const y = tensor('f32', axis(x, 2));
    if (accumulate === 1) expectType(at(inputs, 1), 'f32', y.shape, 'c');
    return [y];
  },
  flops: (inputs) => elementCount(at(inputs, 0).shape),
  mustOverwrite: (attrs) => accumulates(attrs, 1),
  bound: 'memory',
  reference(inputs, attrs, types) {
    const x = at(inputs, 0);
    const width = lastAxis(at(types, 0).shape);
    const y = attr(attrs, 'accumulate') === 1 ? at(inputs, 1).slice() : new Float64Array(width);
    x.forEach((element, index) => (y[index % width]! += element));
    return [y];
  },
  samples: inEveryPrecision([0, 1].flatMap((accumulate) => [
    columnSample('size 1', [1, 1, 1], accumulate),
    columnSample('odd sizes', [3, 7, 13], accumulate),
    columnSample('long rows', [2, 401, 33], accumulate),
  ]), { activations: [0], rounds: false }),
};

function productSamples(weightShape: (summed: number, width: number) => readonly number[]): readonly Sample[] {
  const one = (name: string, leading: readonly number[], summed: number, width: number, bias: number, a: DType = 'f32', b: DType = 'f32'): Sample => {
    const plain = [tensor(a, ...leading, summed), tensor(b, ...weightShape(summed, width))];
    const low = a === 'f32' ? {} : { tolerance: a === 'bf16' ? 2 ** -8 : 2 ** -11 }; // the output is rounded to the type of `a`
    return { name: bias === 1 ? `${name}, bias` : name, inputs: bias === 1 ? [...plain, tensor('f32', width)] : plain, attrs: { bias }, ...low };
  };
  return [0, 1].flatMap((bias) => [
    one('size 1', [1, 1], 1, 1, bias),
    one('odd sizes', [3, 5], 7, 13, bias),
    one('one token', [1, 1], 65, 129, bias),
    one('more than a tile', [2, 67], 100, 81, bias),
    one('long sum', [1, 9], 1000, 19, bias),
    one('weight in bf16', [2, 19], 72, 40, bias, 'f32', 'bf16'),
    one('weight in f16', [2, 19], 45, 37, bias, 'f32', 'f16'),
    one('both in bf16', [2, 19], 72, 40, bias, 'bf16', 'bf16'),
    one('both in f16', [1, 21], 33, 50, bias, 'f16', 'f16'),
  ]);
}

function sumSample(name: string, tokens: readonly number[], widths: readonly [number, number], accumulate: number, dtype: DType = 'f32'): Sample {
  const plain = [tensor(dtype, ...tokens, widths[0]), tensor(dtype, ...tokens, widths[1])];
  const inputs = accumulate === 1 ? [...plain, tensor('f32', ...widths)] : plain;
  return { name: accumulate === 1 ? `${name}, accumulating` : name, inputs, attrs: { accumulate } };
}

function columnSample(name: string, shape: readonly [number, number, number], accumulate: number): Sample {
  const x = tensor('f32', ...shape);
  return { name: accumulate === 1 ? `${name}, accumulating` : name, inputs: accumulate === 1 ? [x, tensor('f32', shape[2])] : [x], attrs: { accumulate } };
}

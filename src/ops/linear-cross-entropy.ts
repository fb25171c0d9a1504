/**
 * Output projection and softmax cross-entropy in one op, with the logits of only some tokens at a time, and only of tokens that have a label
 * (chunked loss). The same bits as projection, cross-entropy and their gradients one after the other.
 */

import type { GraphBuilder } from '../graph/builder.ts';
import { dtypeBytes, type DType } from '../graph/dtype.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { byteCount, elementCount, leadingCount, tensor, type TensorType } from '../graph/shape.ts';
import { crossEntropyBackwardOp, crossEntropyOp } from './cross-entropy.ts';
import { attr, expect, type Op, type Sample, type VjpContext } from './op.ts';
import {
  at, axis, expectCount, expectFlag, expectFloat, expectPositiveInteger, expectRank, expectType, gradientOptions, only, outputGradient,
} from './rules.ts';
import { tokenBlocks } from './token-blocks.ts';

export interface LinearCrossEntropyInputs {
  /** [B,T,D]. */
  readonly hidden: ValueId;
  /** [V,D]. */
  readonly weight: ValueId;
  /** i32 [B,T]: the next token's id; below 0 the token is ignored. Ids of V or more are refused by the data layer. */
  readonly labels: ValueId;
  /** f32 [1]: 1 / (trained tokens of the update). */
  readonly lossWeight: ValueId;
}

/** → rowLoss f32 [B]. Logits (f32) exist for as many labelled tokens as `blocks` token blocks hold. */
export function linearCrossEntropy(b: GraphBuilder, inputs: LinearCrossEntropyInputs, { blocks }: { readonly blocks: number }): ValueId {
  return only(b.node('linear_cross_entropy', [inputs.hidden, inputs.weight, inputs.labels, inputs.lossWeight], { blocks }));
}

interface Sizes {
  readonly rows: number;
  readonly length: number;
  readonly width: number;
  readonly vocabulary: number;
}

function sizesOf(types: readonly TensorType[]): Sizes {
  const [hidden, weight] = [at(types, 0), at(types, 1)];
  return { rows: axis(hidden, 0), length: axis(hidden, 1), width: axis(hidden, 2), vocabulary: axis(weight, 0) };
}

function expectProjection(inputs: readonly TensorType[], attrs: Attrs): Sizes {
  expectPositiveInteger(attr(attrs, 'blocks'), 'blocks');
  const [hidden, weight] = [at(inputs, 0), at(inputs, 1)];
  expectRank(hidden, 3, 'hidden');
  expectFloat(hidden, 'hidden');
  expectRank(weight, 2, 'weight');
  expectFloat(weight, 'weight');
  const sizes = sizesOf(inputs);
  expect(axis(weight, 1) === sizes.width, `weight must be ${sizes.width} wide, as hidden is, got ${axis(weight, 1)}`);
  expectType(at(inputs, 2), 'i32', [sizes.rows, sizes.length], 'labels');
  expectType(at(inputs, 3), 'f32', [1], 'loss weight');
  return sizes;
}

/** FLOPs of one of the three products, as if every token had a label. */
function productFlops(inputs: readonly TensorType[]): number {
  return 2 * leadingCount(at(inputs, 0).shape) * elementCount(at(inputs, 1).shape);
}

/** Slices when every token has a label, and bytes of all logits. */
function slicing(inputs: readonly TensorType[], attrs: Attrs): { readonly slices: number; readonly logitsBytes: number } {
  const { rows, length, vocabulary } = sizesOf(inputs);
  return { slices: Math.ceil(tokenBlocks(rows, length).length / attr(attrs, 'blocks')), logitsBytes: dtypeBytes('f32') * rows * length * vocabulary };
}

const sumBytes = (types: readonly TensorType[]): number => types.reduce((sum, type) => sum + byteCount(type), 0);

export const linearCrossEntropyOp: Op = {
  name: 'linear_cross_entropy',
  attrs: ['blocks'],
  infer(inputs, attrs) {
    expectCount(inputs, 4);
    return [tensor('f32', expectProjection(inputs, attrs).rows)];
  },
  flops: productFlops,
  /** The weight once per slice; the logits are written and read. */
  bytesMoved(inputs, outputs, attrs) {
    const { slices, logitsBytes } = slicing(inputs, attrs);
    return sumBytes([...inputs, ...outputs]) + (slices - 1) * byteCount(at(inputs, 1)) + 2 * logitsBytes;
  },
  vjp: projectionGradients,
  saved: { inputs: [0, 1, 2, 3], outputs: [] },
  bound: 'compute',
  reference(inputs, _attrs, types) {
    return [definition(inputs, types).rowLoss];
  },
  samples: cases(({ name, plain, blocks, ...rest }) => [{ name, inputs: plain, attrs: { blocks }, ...rest }]),
};

/** One node that gives the loss once more, so that the forward node, and with it a second projection, goes away. */
function projectionGradients(context: VjpContext): readonly (ValueId | undefined)[] {
  const [needHidden, needWeight] = [context.needs(0), context.needs(1)];
  if (!needHidden && !needWeight) return [undefined, undefined, undefined, undefined];
  const dRowLoss = outputGradient(context);
  const { builder, node } = context;
  const running = needWeight ? context.accumulator(1) : undefined;
  const inputs = [...node.inputs, dRowLoss, ...(running === undefined ? [] : [running])];
  const attrs = { blocks: attr(node.attrs, 'blocks'), mode: running === undefined ? 0 : 1, needHidden: Number(needHidden), needWeight: Number(needWeight) };
  const dweightAt = 1 + attrs.needHidden;
  const { storage, names } = running === undefined && needWeight ? { names: [], ...gradientOptions(context, 1) } : { storage: 'workspace' as const, names: [] };
  const before = Array.from({ length: dweightAt }, () => undefined);
  const outputs = builder.node('linear_cross_entropy_backward', inputs, attrs, {
    storage: [...before.map(() => 'workspace' as const), storage],
    names: [...before, ...names],
    overwrites: running === undefined ? [] : [{ output: dweightAt, input: 5 }],
  });
  context.alsoYields(0, only(outputs));
  return [needHidden ? at(outputs, 1) : undefined, needWeight ? at(outputs, dweightAt) : undefined, undefined, undefined];
}

/**
 * hidden, weight, labels, lossWeight, dRowLoss f32 [B], (dweight f32 [V,D] when mode is 1) → rowLoss f32 [B], dhidden [B,T,D] of hidden's
 * dtype, dweight f32 [V,D]. dhidden is exactly 0 for ignored tokens. dweight is summed as `token-blocks.ts` says: from zero in mode 0, as a
 * continuation of the given sum, in place, in mode 1. needHidden and needWeight: with 0 the output is absent and its product is not done.
 *
 * The bits are those of matmul_nt → cross_entropy → cross_entropy_backward → matmul_nn and matmul_tn (16-bit hidden converted to f32 before,
 * dhidden rounded once). Two exceptions, both without labels: a weight that is not finite does not reach dhidden of ignored tokens, and an
 * element of dweight whose terms all underflow may be −0 where ignored tokens in its block would have made it +0.
 */
export const linearCrossEntropyBackwardOp: Op = {
  name: 'linear_cross_entropy_backward',
  attrs: ['blocks', 'mode', 'needHidden', 'needWeight'],
  infer(inputs, attrs) {
    const [mode, needHidden, needWeight] = [attr(attrs, 'mode'), attr(attrs, 'needHidden'), attr(attrs, 'needWeight')];
    expectFlag(mode, 'mode');
    expectFlag(needHidden, 'needHidden');
    expectFlag(needWeight, 'needWeight');
    expect(needHidden + needWeight > 0, 'needHidden or needWeight must be 1');
    expect(mode <= needWeight, 'mode 1 asks for needWeight 1');
    expectCount(inputs, 5 + mode);
    const { rows, vocabulary, width } = expectProjection(inputs, attrs);
    expectType(at(inputs, 4), 'f32', [rows], 'gradient of the row loss');
    const dweight = tensor('f32', vocabulary, width);
    if (mode === 1) expectType(at(inputs, 5), 'f32', dweight.shape, 'dweight');
    return [tensor('f32', rows), ...(needHidden === 1 ? [at(inputs, 0)] : []), ...(needWeight === 1 ? [dweight] : [])];
  },
  flops: (inputs, _outputs, attrs) => (1 + attr(attrs, 'needHidden') + attr(attrs, 'needWeight')) * productFlops(inputs),
  /** Per slice the weight once or twice, and dweight read and written; logits are written, turned into their gradient and read. */
  bytesMoved(inputs, outputs, attrs) {
    const { slices, logitsBytes } = slicing(inputs, attrs);
    const [needHidden, needWeight] = [attr(attrs, 'needHidden'), attr(attrs, 'needWeight')];
    const weights = (slices * (1 + needHidden) - 1) * byteCount(at(inputs, 1));
    const sums = needWeight === 1 ? 2 * (slices - 1) * byteCount(at(outputs, 1 + needHidden)) : 0;
    return sumBytes([...inputs, ...outputs]) + weights + sums + (3 + needHidden + needWeight) * logitsBytes;
  },
  mustOverwrite: (attrs) => (attr(attrs, 'mode') === 1 ? [{ output: 1 + attr(attrs, 'needHidden'), input: 5 }] : []),
  bound: 'compute',
  reference(inputs, attrs, types) {
    const { rowLoss, logits, lse } = definition(inputs, types);
    const [hidden, weight, labels, lossWeight, dRowLoss] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3), at(inputs, 4)];
    const { width, vocabulary } = sizesOf(types);
    const dlogits = at(crossEntropyBackwardOp.reference([logits, labels, lse, lossWeight, dRowLoss], {}, logitsTypes(types), []), 0);
    const dhidden = new Float64Array(hidden.length);
    const dweight = attr(attrs, 'mode') === 1 ? at(inputs, 5).slice() : new Float64Array(weight.length);
    labels.forEach((label, token) => {
      if (label < 0) return;
      for (let v = 0; v < vocabulary; v++) {
        const dlogit = dlogits[token * vocabulary + v]!;
        for (let k = 0; k < width; k++) {
          dhidden[token * width + k]! += dlogit * weight[v * width + k]!;
          dweight[v * width + k]! += dlogit * hidden[token * width + k]!;
        }
      }
    });
    return [rowLoss, ...(attr(attrs, 'needHidden') === 1 ? [dhidden] : []), ...(attr(attrs, 'needWeight') === 1 ? [dweight] : [])];
  },
  samples: cases(({ name, plain, blocks, rows, length, vocabulary, width, ...rest }) => {
    const one = (what: string, mode: number, needHidden: number, needWeight: number): Sample => ({
      name: name + what,
      inputs: [...plain, tensor('f32', rows), ...(mode === 1 ? [tensor('f32', vocabulary, width)] : [])],
      attrs: { blocks, mode, needHidden, needWeight },
      ...rest,
    });
    const whole = [one('', 0, 1, 1), one(', going on', 1, 1, 1)];
    const parts = [one(', hidden alone', 0, 1, 0), one(', weight alone', 0, 0, 1), one(', weight alone, going on', 1, 0, 1)];
    return rows * length < 40 && vocabulary < 100 ? [...whole, ...parts] : whole;
  }),
};

function logitsTypes(types: readonly TensorType[]): readonly TensorType[] {
  const { rows, length, vocabulary } = sizesOf(types);
  return [tensor('f32', rows, length, vocabulary), ...types.slice(2)];
}

/** Cross-entropy of hidden · weightᵀ; logits of ignored tokens are left 0. */
function definition(inputs: readonly Float64Array[], types: readonly TensorType[]): { rowLoss: Float64Array; logits: Float64Array; lse: Float64Array } {
  const [hidden, weight, labels, lossWeight] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)];
  const { width, vocabulary } = sizesOf(types);
  const logits = new Float64Array(labels.length * vocabulary);
  labels.forEach((label, token) => {
    if (label < 0) return;
    for (let v = 0; v < vocabulary; v++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += hidden[token * width + k]! * weight[v * width + k]!;
      logits[token * vocabulary + v] = sum;
    }
  });
  const [rowLoss, lse] = crossEntropyOp.reference([logits, labels, lossWeight], {}, logitsTypes(types), []);
  return { rowLoss: rowLoss!, logits, lse: lse! };
}

interface Case extends Pick<Sample, 'name' | 'fill' | 'tolerance'>, Sizes {
  readonly blocks: number;
  /** hidden, weight, labels, loss weight. */
  readonly plain: readonly TensorType[];
}

interface CaseOptions {
  readonly ignored?: number;
  readonly blocks?: number;
  readonly hidden?: DType;
  readonly weight?: DType;
}

function cases(make: (one: Case) => readonly Sample[]): readonly Sample[] {
  const one = (name: string, [rows, length]: readonly [number, number], [width, vocabulary]: readonly [number, number], options: CaseOptions = {}): readonly Sample[] => {
    const { ignored = 0.2, blocks = 1, hidden = 'f32', weight = 'f32' } = options;
    const low = hidden === 'f32' ? {} : { tolerance: hidden === 'bf16' ? 2 ** -8 : 2 ** -11 }; // dhidden is rounded
    return make({
      name, rows, length, width, vocabulary, blocks, ...low,
      plain: [tensor(hidden, rows, length, width), tensor(weight, vocabulary, width), tensor('i32', rows, length), tensor('f32', 1)],
      fill: (index, random) =>
        index === 2 ? Array.from({ length: rows * length }, () => (random() < ignored ? -100 : Math.floor(random() * vocabulary))) : undefined,
    });
  };
  return [
    one('one token', [1, 1], [1, 2], { ignored: 0 }),
    one('odd sizes', [3, 5], [7, 13], { ignored: 0 }),
    one('some ignored', [2, 17], [9, 33], { ignored: 0.5 }),
    one('all ignored', [2, 5], [3, 9], { ignored: 1 }),
    one('long rows, a block at a time', [2, 389], [5, 11]),
    one('long rows, two blocks at a time', [3, 400], [6, 35], { blocks: 2 }),
    one('long rows, few labels', [3, 400], [6, 35], { ignored: 0.97 }),
    one('short rows joined', [5, 100], [19, 40]),
    one('larger vocabulary', [1, 9], [24, 5003]),
    one('hidden in bf16', [2, 19], [21, 40], { hidden: 'bf16' }),
    one('hidden in f16', [1, 21], [33, 50], { hidden: 'f16' }),
    one('weight in bf16', [2, 19], [17, 40], { weight: 'bf16' }),
    one('weight in f16', [1, 130], [8, 37], { weight: 'f16' }),
    one('both in bf16', [2, 130], [11, 30], { hidden: 'bf16', weight: 'bf16' }),
  ].flat();
}

/**
 * Adafactor (Shazeer & Stern 2018) as transformers.optimization.Adafactor with scale_parameter=False, relative_step=False, eps (1e-30, ·),
 * clip_threshold 1 and decay_rate -0.8: matrices keep a second moment per row and per column, vectors a whole one.
 */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { expectParameter, expectScalars, expectSeed, replaceRange, type ParameterUpdate } from './parameter-update.ts';
import { at, axis, expectCount, expectFlag, expectType } from './rules.ts';

/** Added to each squared gradient. */
const EPSILON = 1e-30;
const DECAY_RATE = -0.8;

export interface AdafactorUpdate extends ParameterUpdate {
  /** f32, overwritten, 0 before the first step: [rows] and [columns] for a matrix, else one of the parameter's shape. */
  readonly secondMoments: readonly ValueId[];
  /** f32, of the parameter's shape, overwritten, 0 before the first step; holds updates, not gradients. Given exactly when `beta1` > 0. */
  readonly firstMoment?: ValueId;
  readonly beta1: number;
}

/**
 * g = gradient·gradientScale; β₂ = 1 − step^-0.8; matrix: r ← β₂r + (1 − β₂)·mean over columns of (g² + 1e-30), c likewise over rows,
 * u = g / √(r/mean(r) · c); vector: v ← β₂v + (1 − β₂)(g² + 1e-30), u = g/√v. u ← lr·u / max(1, rms(u)); with β₁: m ← β₁m + (1 − β₁)u,
 * u = m. p ← p − lr·wd·p − u. The new values live in the bytes of the old ones. Returns the parameter.
 */
export function adafactorUpdate(b: GraphBuilder, u: AdafactorUpdate): ValueId {
  const attrs = { beta1: u.beta1, weightDecay: u.weightDecay, factored: u.secondMoments.length === 2 ? 1 : 0, seed: u.roundingSeed ?? 0 };
  const state = [...u.secondMoments, ...(u.firstMoment === undefined ? [] : [u.firstMoment])];
  const outputs = b.node('adafactor', [u.parameter, u.gradient, u.learningRate, u.step, u.gradientScale, ...state], attrs, { overwrites: overwritesOf(attrs) });
  return at(outputs, 0);
}

/** State tensors begin at input 5, their new values at output 1. */
const STATE = 5;

function stateCount(attrs: Attrs): number {
  return (attr(attrs, 'factored') === 1 ? 2 : 1) + (attr(attrs, 'beta1') > 0 ? 1 : 0);
}

function overwritesOf(attrs: Attrs): readonly { output: number; input: number }[] {
  return [{ output: 0, input: 0 }, ...Array.from({ length: stateCount(attrs) }, (_, i) => ({ output: 1 + i, input: STATE + i }))];
}

/** Shapes of the second moments of a parameter: factored for matrices. */
export function secondMomentShapes({ shape }: Pick<TensorType, 'shape'>): readonly (readonly number[])[] {
  return shape.length === 2 ? shape.map((size) => [size]) : [shape];
}

export const adafactorOp: Op = {
  name: 'adafactor',
  attrs: ['beta1', 'weightDecay', 'factored', 'seed'],
  infer(inputs, attrs) {
    for (const name of this.attrs) attr(attrs, name);
    expectFlag(attr(attrs, 'factored'), 'factored');
    expectSeed(attrs);
    expectCount(inputs, STATE + stateCount(attrs));
    const parameter = at(inputs, 0);
    expectParameter(parameter, at(inputs, 1));
    expectScalars(at(inputs, 2), at(inputs, 3), at(inputs, 4));
    const shapes = secondMomentShapes(parameter);
    expect(attr(attrs, 'factored') === shapes.length - 1, `factored must be ${shapes.length - 1} for a parameter of ${parameter.shape.length} axes`);
    shapes.forEach((shape, i) => expectType(at(inputs, STATE + i), 'f32', shape, 'second moment'));
    if (attr(attrs, 'beta1') > 0) expectType(at(inputs, inputs.length - 1), 'f32', parameter.shape, 'first moment');
    return [parameter, ...inputs.slice(STATE)];
  },
  flops: (inputs) => 14 * elementCount(at(inputs, 0).shape),
  /** The gradient is read three times: for the moments, for the norm of the update, and for the update. */
  bytesMoved(inputs, outputs) {
    const [parameter, ...state] = outputs;
    const count = elementCount(at(inputs, 0).shape);
    return count * (12 + 2 * (parameter?.dtype === 'bf16' ? 2 : 4)) + 8 * state.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  },
  mustOverwrite: overwritesOf,
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [parameter, gradient] = [at(inputs, 0), at(inputs, 1)];
    const [rate, step, scale] = [at(inputs, 2)[0]!, at(inputs, 3)[0]!, at(inputs, 4)[0]!];
    const g = gradient.map((x) => x * scale);
    const moments = inputs.slice(STATE);
    const beta2 = 1 - step ** DECAY_RATE;
    const factored = attr(attrs, 'factored') === 1;
    const columns = factored ? axis(at(types, 0), 1) : 1;
    const second = factored ? factoredMoments(g, at(moments, 0), at(moments, 1), beta2) : [wholeMoment(g, at(moments, 0), beta2)];
    const rowMean = at(second, 0).reduce((sum, x) => sum + x, 0) / at(second, 0).length;
    const raw = g.map((x, i) => {
      const estimate = factored ? (at(second, 0)[Math.floor(i / columns)]! / rowMean) * at(second, 1)[i % columns]! : at(second, 0)[i]!;
      return x / Math.sqrt(estimate);
    });
    const rms = Math.sqrt(raw.reduce((sum, u) => sum + u * u, 0) / raw.length);
    const beta1 = attr(attrs, 'beta1');
    const clipped = raw.map((u) => (rate * u) / Math.max(1, rms)); // NaN if rms is
    const change = beta1 > 0 ? at(moments, moments.length - 1).map((old, i) => beta1 * old + (1 - beta1) * clipped[i]!) : clipped;
    const updated = parameter.map((old, i) => old - rate * attr(attrs, 'weightDecay') * old - change[i]!);
    return [replaceRange(parameter, updated, at(types, 0), attrs, step), ...second, ...(beta1 > 0 ? [change] : [])];
  },
  samples: [
    sample('size 1, first step', [1], { step: 1 }),
    sample('vector, decay', [257], { step: 4, weightDecay: 0.1 }),
    sample('vector, momentum', [4099], { step: 4, beta1: 0.9 }),
    sample('matrix of one', [1, 1], { step: 1 }),
    sample('matrix, first step', [3, 13], { step: 1, weightDecay: 0.1 }),
    sample('matrix, momentum', [7, 19], { step: 9, beta1: 0.9, weightDecay: 0.1 }),
    sample('blocks of rows less one', [63, 33], { step: 5 }),
    sample('blocks of rows', [64, 20], { step: 5 }),
    sample('blocks of rows and one', [129, 37], { step: 5, weightDecay: 0.1 }),
    sample('one row', [1, 777], { step: 5 }),
    sample('one column', [777, 1], { step: 5 }),
    sample('wide', [5, 5000], { step: 2, beta1: 0.5 }),
    sample('no gradient, first step', [6, 10], { step: 1, scale: 0, weightDecay: 0.1 }),
    sample('bf16 vector', [270], { step: 5, weightDecay: 0.1, dtype: 'bf16' }),
    sample('bf16 matrix', [130, 91], { step: 5, weightDecay: 0.1, dtype: 'bf16' }),
    sample('bf16 matrix, momentum', [13, 91], { step: 5, beta1: 0.9, dtype: 'bf16' }),
  ],
};

function wholeMoment(g: Float64Array, old: Float64Array, beta2: number): Float64Array {
  return old.map((v, i) => beta2 * v + (1 - beta2) * (g[i]! ** 2 + EPSILON));
}

/** The means of the squares over columns, and over rows. */
function factoredMoments(g: Float64Array, rows: Float64Array, columns: Float64Array, beta2: number): readonly Float64Array[] {
  const width = columns.length;
  const [sumOfRow, sumOfColumn] = [new Float64Array(rows.length), new Float64Array(width)];
  g.forEach((x, i) => {
    sumOfRow[Math.floor(i / width)]! += x * x + EPSILON;
    sumOfColumn[i % width]! += x * x + EPSILON;
  });
  return [
    rows.map((old, i) => beta2 * old + ((1 - beta2) * sumOfRow[i]!) / width),
    columns.map((old, j) => beta2 * old + ((1 - beta2) * sumOfColumn[j]!) / rows.length),
  ];
}

interface SampleOptions {
  readonly step: number;
  readonly beta1?: number;
  readonly weightDecay?: number;
  readonly scale?: number;
  readonly dtype?: 'f32' | 'bf16';
}

function sample(name: string, shape: readonly number[], { step, beta1 = 0, weightDecay = 0, scale = 0.5, dtype = 'f32' }: SampleOptions): Sample {
  const one = tensor('f32', 1);
  const full = tensor('f32', ...shape);
  const second = secondMomentShapes({ shape }).map((sizes) => tensor('f32', ...sizes));
  return {
    name,
    inputs: [tensor(dtype, ...shape), full, one, tensor('i32', 1), one, ...second, ...(beta1 > 0 ? [full] : [])],
    attrs: { beta1, weightDecay, factored: second.length - 1, seed: 5 },
    fill(index, random) {
      if (index >= STATE && index < STATE + second.length) {
        return Array.from({ length: elementCount(at(second, index - STATE).shape) }, () => (step === 1 ? 0 : 0.05 + random()));
      }
      return index === 2 ? [Math.fround(1e-2)] : index === 3 ? [step] : index === 4 ? [scale] : undefined;
    },
  };
}

/**
 * What the ops of the optimizers share: a parameter f32 or bf16 [P] with its gradient f32 [P], of which a node updates elements
 * `first` … `first` + count - 1, as many as its state has; new bf16 values are rounded stochastically.
 */

import type { Attrs, ValueId } from '../graph/graph.ts';
import { elementCount, formatType, sameShape, type TensorType } from '../graph/shape.ts';
import { attr, expect } from './op.ts';
import { at, expectType } from './rules.ts';
import { roundStochastically } from './stochastic-rounding.ts';

/** What every update reads. */
export interface ParameterUpdate {
  /** f32 or bf16; overwritten. */
  readonly parameter: ValueId;
  /** f32, of the parameter's shape. */
  readonly gradient: ValueId;
  /** f32 [1]. */
  readonly learningRate: ValueId;
  /** i32 [1], 1 in the first update. */
  readonly step: ValueId;
  /** f32 [1]: multiplies the gradient (clipping). */
  readonly gradientScale: ValueId;
  readonly weightDecay: number;
  /** Seeds the rounding of bf16 parameters: below 2^53, and another for each parameter. Default 0. */
  readonly roundingSeed?: number;
}

/** An update of a range of the parameter: the state tensors hold the range only. */
export interface RangedUpdate extends ParameterUpdate {
  /** Offset of the first element that is updated. Default 0. */
  readonly first?: number;
}

/** The attributes that say where the range begins and how its bf16 values are rounded. */
export function rangeAttrs({ first = 0, roundingSeed = 0 }: RangedUpdate): { readonly first: number; readonly seed: number } {
  return { first, seed: roundingSeed };
}

export function expectSeed(attrs: Attrs): void {
  const seed = attr(attrs, 'seed');
  expect(Number.isSafeInteger(seed) && seed >= 0, `seed must be a whole number of at least 0, got ${seed}`);
}

/** A parameter with its gradient. */
export function expectParameter(parameter: TensorType, gradient: TensorType): void {
  expect(parameter.dtype === 'f32' || parameter.dtype === 'bf16', `parameter must be f32 or bf16, got ${formatType(parameter)}`);
  expectType(gradient, 'f32', parameter.shape, 'gradient');
}

/** Learning rate, step and gradient scale. */
export function expectScalars(learningRate: TensorType, step: TensorType, gradientScale: TensorType): void {
  expectType(learningRate, 'f32', [1], 'learning rate');
  expectType(step, 'i32', [1], 'step');
  expectType(gradientScale, 'f32', [1], 'gradient scale');
}

/** That a range of `count` elements from `first` on, a multiple of `multiple`, lies within the parameter. */
export function expectRange(parameter: TensorType, count: number, attrs: Attrs, multiple = 1): void {
  expectSeed(attrs);
  const first = attr(attrs, 'first');
  const whole = elementCount(parameter.shape);
  const starts = Number.isInteger(first) && first >= 0 && first % multiple === 0;
  expect(starts, `first must be ${multiple === 1 ? 'a whole number' : `a multiple of ${multiple}`} of at least 0, got ${first}`);
  expect(first + count <= whole, `elements ${first} to ${first + count} of a parameter of ${whole}`);
}

/** State tensors of one dtype and one shape: flat, or whole rows of the parameter. */
export function expectState(parameter: TensorType, states: readonly TensorType[], dtype: TensorType['dtype'], what: string): void {
  const { shape } = at(states, 0);
  for (const state of states) expectType(state, dtype, shape, what);
  const rows = shape.length === parameter.shape.length && sameShape(shape.slice(1), parameter.shape.slice(1));
  expect(shape.length === 1 || rows, `${what} must be flat, or rows of ${formatType(parameter)}, got ${formatType({ dtype, shape })}`);
}

/** The parameter after an update: elements from `first` on are `updated`, as the parameter's dtype stores them. */
export function replaceRange(parameter: Float64Array, updated: Float64Array, type: TensorType, attrs: Attrs, step: number): Float64Array {
  const first = attrs['first'] ?? 0;
  const stored = type.dtype === 'bf16' ? roundStochastically(updated, { seed: attr(attrs, 'seed'), step }, first) : updated;
  const result = parameter.slice();
  result.set(stored, first);
  return result;
}

/** Bytes of an update of `count` elements: parameter read and written, gradient read, all other operands once each way. */
export function updateBytes(parameter: TensorType, count: number, others: number): number {
  return count * (2 * (parameter.dtype === 'bf16' ? 2 : 4) + 4) + others;
}

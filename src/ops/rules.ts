/** What the op files share: checks of shapes and dtypes, and the common parts of vjp rules. */

import { isFloat } from '../graph/dtype.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { formatType, sameShape, type Shape, type TensorType } from '../graph/shape.ts';
import { misfit, type VjpContext } from './op.ts';

/** Element `index` of a list that the caller knows to be long enough. */
export function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError(`item ${index} of a list of ${list.length}`);
  return item;
}

/** Axis `index` of a shape whose rank was checked. */
export function axis(type: TensorType, index: number): number {
  return at(type.shape, index);
}

export function expectCount(inputs: readonly TensorType[], count: number): void {
  if (inputs.length !== count) misfit(`takes ${count} inputs, got ${inputs.length}`);
}

export function expectRank(type: TensorType, rank: number, what: string): void {
  if (type.shape.length !== rank) misfit(`${what} must have ${rank} axes, got ${formatType(type)}`);
}

export function expectFloat(type: TensorType, what: string): void {
  if (!isFloat(type.dtype)) misfit(`${what} must be of a float type, got ${formatType(type)}`);
}

export function expectType(type: TensorType, dtype: TensorType['dtype'], shape: Shape, what: string): void {
  if (type.dtype !== dtype || !sameShape(type.shape, shape)) misfit(`${what} must be ${formatType({ dtype, shape })}, got ${formatType(type)}`);
}

/** A float tensor of exactly this shape. */
export function expectFloatShape(type: TensorType, shape: Shape, what: string): void {
  expectFloat(type, what);
  if (!sameShape(type.shape, shape)) misfit(`${what} must have the shape [${shape.join(',')}], got ${formatType(type)}`);
}

/** A float tensor like `other`, dtype included. */
export function expectLike(type: TensorType, other: TensorType, what: string): void {
  expectFloat(other, what);
  expectType(type, other.dtype, other.shape, what);
}

export function expectPositiveInteger(value: number, what: string): void {
  if (!Number.isInteger(value) || value <= 0) misfit(`${what} must be a whole number above 0, got ${value}`);
}

/** A 0/1 attribute; the number of optional inputs it announces. */
export function expectFlag(value: number, what: string): void {
  if (value !== 0 && value !== 1) misfit(`${what} must be 0 or 1, got ${value}`);
}

/** The one output of a node that has one. */
export function only(outputs: readonly ValueId[]): ValueId {
  return at(outputs, 0);
}

/** Gradient of output 0 of an op whose other outputs are statistics that nothing differentiates through. */
export function outputGradient(context: VjpContext): ValueId {
  context.node.outputs.forEach((_, index) => {
    if (index > 0 && context.gradient(index) !== undefined) throw new Error(`${context.node.op}: gradients do not pass through output ${index}`);
  });
  const gradient = context.gradient(0);
  if (gradient === undefined) throw new Error(`${context.node.op}: vjp without a gradient`);
  return gradient;
}

/** Name and storage class of the gradient of input `index`, when that is a parameter. */
export function gradientOptions(context: VjpContext, index: number): { storage: 'gradient'; names: readonly string[] } | { storage: 'workspace' } {
  const input = context.builder.type(at(context.node.inputs, index));
  return input.persistent ? { storage: 'gradient', names: [`gradient:${input.name}`] } : { storage: 'workspace' };
}

/**
 * Gradient of parameter input `index` as a sum over tokens by `op` (matmul_tn, column_sum, …), whose last input is an optional
 * accumulator: begun from zero, or continued in place from the earlier micro-steps.
 */
export function tokenSum(context: VjpContext, index: number, op: string, inputs: readonly ValueId[], attrs: Attrs = {}): ValueId | undefined {
  if (!context.needs(index)) return undefined;
  const accumulator = context.accumulator(index);
  if (accumulator === undefined) return only(context.builder.node(op, inputs, { ...attrs, accumulate: 0 }, gradientOptions(context, index)));
  return only(context.builder.node(op, [...inputs, accumulator], { ...attrs, accumulate: 1 }, {
    storage: 'gradient',
    overwrites: [{ output: 0, input: inputs.length }],
  }));
}

/** Where the op that sums over tokens overwrites its accumulator, its last input of `plainInputs + 1`. */
export function accumulates(attrs: Attrs, plainInputs: number): readonly { output: number; input: number }[] {
  return attrs['accumulate'] === 1 ? [{ output: 0, input: plainInputs }] : [];
}

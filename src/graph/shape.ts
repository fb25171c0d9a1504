/** Shapes are readonly lists of sizes; the last axis is contiguous. */

import { dtypeBytes, type DType } from './dtype.ts';

export type Shape = readonly number[];

/** What an op knows of a value: sizes and element type. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

export function tensor(dtype: DType, ...shape: number[]): TensorType {
  return { dtype, shape };
}

export function elementCount(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function byteCount(type: TensorType): number {
  return elementCount(type.shape) * dtypeBytes(type.dtype);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** The last size; 1 for a scalar. */
export function lastAxis(shape: Shape): number {
  return shape.at(-1) ?? 1;
}

/** The product of all sizes but the last: the number of rows of width `lastAxis`. */
export function leadingCount(shape: Shape): number {
  return elementCount(shape.slice(0, -1));
}

/** `f32[4,128,64]` */
export function formatType(type: TensorType): string {
  return `${type.dtype}[${type.shape.join(',')}]`;
}

/** Small ops on one or more tensors: add, scale, slice and concat along the last axis, ones. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Node, ValueId } from '../graph/graph.ts';
import { byteCount, elementCount, lastAxis, leadingCount, sameShape, tensor } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFloat, expectLike, expectPositiveInteger, expectType, only, outputGradient } from './rules.ts';

/** a [...] + b [...]. Gradients of neighbouring slices, each padded with zeros, are laid side by side instead of added. */
export function add(b: GraphBuilder, left: ValueId, right: ValueId): ValueId {
  return sideBySide(b, left, right) ?? only(b.node('add', [left, right]));
}

/** x [...] · s f32 [1]. */
export function scale(b: GraphBuilder, x: ValueId, s: ValueId): ValueId {
  return only(b.node('scale', [x, s]));
}

/** x [...,S] → y [...,W]: columns offset … offset + width − 1. */
export function slice(b: GraphBuilder, x: ValueId, options: { readonly offset: number; readonly width: number }): ValueId {
  return only(b.node('slice', [x], { offset: options.offset, width: options.width }));
}

/** Joins along the last axis. */
export function concat(b: GraphBuilder, parts: readonly ValueId[]): ValueId {
  return only(b.node('concat', parts));
}

/** y f32 [size], all 1: the seed of backward. */
export function ones(b: GraphBuilder, size: number): ValueId {
  return only(b.node('ones', [], { size }));
}

export const addOp: Op = {
  name: 'add',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 2);
    expectFloat(at(inputs, 0), 'a');
    expectLike(at(inputs, 1), at(inputs, 0), 'b');
    return [at(inputs, 0)];
  },
  flops: (inputs) => elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    return [context.needs(0) ? dy : undefined, context.needs(1) ? dy : undefined];
  },
  saved: { inputs: [], outputs: [] },
  mayOverwrite: [{ output: 0, input: 0 }, { output: 0, input: 1 }],
  bound: 'memory',
  reference(inputs) {
    const [a, b] = [at(inputs, 0), at(inputs, 1)];
    return [a.map((element, i) => element + b[i]!)];
  },
  samples: inEveryPrecision([[1], [3, 5, 13], [2, 33, 131]].map((shape) => ({
    name: `[${shape.join(',')}]`,
    inputs: [tensor('f32', ...shape), tensor('f32', ...shape)],
    attrs: {},
  })), { activations: [0, 1], rounds: true }),
};

export const scaleOp: Op = {
  name: 'scale',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 2);
    expectFloat(at(inputs, 0), 'x');
    expectType(at(inputs, 1), 'f32', [1], 's');
    return [at(inputs, 0)];
  },
  flops: (inputs) => elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    return [context.needs(0) ? scale(context.builder, dy, at(context.node.inputs, 1)) : undefined, undefined];
  },
  saved: { inputs: [1], outputs: [] },
  mayOverwrite: [{ output: 0, input: 0 }],
  bound: 'memory',
  reference(inputs) {
    const factor = at(inputs, 1)[0]!;
    return [at(inputs, 0).map((element) => element * factor)];
  },
  samples: inEveryPrecision([[1], [3, 5, 13], [2, 33, 131]].map((shape) => ({
    name: `[${shape.join(',')}]`,
    inputs: [tensor('f32', ...shape), tensor('f32', 1)],
    attrs: {},
  })), { activations: [0], rounds: true }),
};

export const sliceOp: Op = {
  name: 'slice',
  attrs: ['offset', 'width'],
  infer(inputs, attrs) {
    expectCount(inputs, 1);
    const x = at(inputs, 0);
    const [offset, width] = [attr(attrs, 'offset'), attr(attrs, 'width')];
    expectFloat(x, 'x');
    expectPositiveInteger(width, 'width');
    expect(Number.isInteger(offset) && offset >= 0 && offset + width <= lastAxis(x.shape), `columns ${offset} to ${offset + width} are not in x`);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), width] }];
  },
  flops: () => 0,
  bytesMoved: (_inputs, outputs) => 2 * byteCount(at(outputs, 0)),
  vjp(context) {
    if (!context.needs(0)) return [undefined];
    const { builder, node } = context;
    const total = lastAxis(builder.type(at(node.inputs, 0)).shape);
    return [padded(builder, outputGradient(context), attr(node.attrs, 'offset'), total)];
  },
  saved: { inputs: [], outputs: [] },
  bound: 'memory',
  reference(inputs, attrs, types) {
    const x = at(inputs, 0);
    const [offset, width] = [attr(attrs, 'offset'), attr(attrs, 'width')];
    const full = lastAxis(at(types, 0).shape);
    const y = new Float64Array((x.length / full) * width);
    for (let row = 0; row < x.length / full; row++) y.set(x.subarray(row * full + offset, row * full + offset + width), row * width);
    return [y];
  },
  samples: inEveryPrecision([
    sliceSample('size 1', [1, 1, 1], 0, 1),
    sliceSample('the first columns', [3, 5, 13], 0, 5),
    sliceSample('in the middle', [2, 7, 48], 16, 16),
    sliceSample('the last columns', [2, 3, 37], 20, 17),
    sliceSample('all', [2, 3, 9], 0, 9),
  ], { activations: [0], rounds: true }),
};

export const concatOp: Op = {
  name: 'concat',
  attrs: [],
  infer(inputs) {
    expect(inputs.length > 0, 'takes at least one input');
    const first = at(inputs, 0);
    inputs.forEach((part, index) => {
      expectFloat(part, `input ${index}`);
      const fits = part.dtype === first.dtype && part.shape.length > 0 && sameShape(part.shape.slice(0, -1), first.shape.slice(0, -1));
      expect(fits, `input ${index} must be like input 0 but for the last axis`);
    });
    const width = inputs.reduce((sum, part) => sum + lastAxis(part.shape), 0);
    return [{ dtype: first.dtype, shape: [...first.shape.slice(0, -1), width] }];
  },
  flops: () => 0,
  vjp(context) {
    const dy = outputGradient(context);
    const { builder, node } = context;
    let end = 0;
    return node.inputs.map((id, index) => {
      const width = lastAxis(builder.type(id).shape);
      end += width;
      return context.needs(index) ? slice(builder, dy, { offset: end - width, width }) : undefined;
    });
  },
  saved: { inputs: [], outputs: [] },
  bound: 'memory',
  reference(inputs, _attrs, types, outputTypes) {
    const out = at(outputTypes, 0);
    const total = lastAxis(out.shape);
    const y = new Float64Array(elementCount(out.shape));
    let offset = 0;
    inputs.forEach((part, index) => {
      const width = lastAxis(at(types, index).shape);
      for (let row = 0; row < leadingCount(out.shape); row++) y.set(part.subarray(row * width, (row + 1) * width), row * total + offset);
      offset += width;
    });
    return [y];
  },
  samples: inEveryPrecision([
    concatSample('one input', [1, 1], [1]),
    concatSample('three equal', [2, 5], [16, 16, 16]),
    concatSample('odd widths', [3, 5], [1, 13, 7]),
  ], { activations: [0, 1, 2], rounds: true }),
};

export const onesOp: Op = {
  name: 'ones',
  attrs: ['size'],
  infer(inputs, attrs) {
    expectCount(inputs, 0);
    expectPositiveInteger(attr(attrs, 'size'), 'size');
    return [tensor('f32', attr(attrs, 'size'))];
  },
  flops: () => 0,
  bound: 'memory',
  reference: (_inputs, attrs) => [new Float64Array(attr(attrs, 'size')).fill(1)],
  samples: [1, 3, 16, 67].map((size) => ({ name: `size ${size}`, inputs: [], attrs: { size } })),
};

/** Name of the constant that makes zeros of a tensor. */
const ZERO = 'zero';

/** dy, the gradient of columns from `offset`, with zeros around it: the gradient of all `total` columns. */
function padded(b: GraphBuilder, dy: ValueId, offset: number, total: number): ValueId {
  const width = lastAxis(b.type(dy).shape);
  if (width === total) return dy;
  const zeros = scale(b, dy, b.constant(ZERO, 'f32', [0]));
  const fill = (count: number): readonly ValueId[] => {
    const whole = Array.from({ length: Math.floor(count / width) }, () => zeros);
    return count % width === 0 ? whole : [...whole, slice(b, zeros, { offset: 0, width: count % width })];
  };
  return concat(b, [...fill(offset), dy, ...fill(total - offset - width)]);
}

/** The sum of two gradients of which each is zero where the other is not, as one concat; undefined when they are not such a pair. */
function sideBySide(b: GraphBuilder, left: ValueId, right: ValueId): ValueId | undefined {
  if (b.find(ZERO) === undefined) return undefined;
  const maker = (id: ValueId): Node | undefined => b.nodesSoFar.findLast((node) => node.outputs.includes(id));
  const isZero = (id: ValueId): boolean => {
    const node = maker(id);
    if (node?.op === 'slice') return isZero(at(node.inputs, 0));
    return node?.op === 'scale' && node.inputs[1] === b.find(ZERO);
  };
  const pieces = (id: ValueId): readonly Piece[] | undefined => {
    const node = maker(id);
    if (node?.op !== 'concat') return undefined;
    let end = 0;
    const all = node.inputs.map((input): Piece => {
      const start = end;
      end += lastAxis(b.type(input).shape);
      return { value: input, start, end, zero: isZero(input) };
    });
    return all.some((piece) => piece.zero) ? all : undefined;
  };
  const [ofLeft, ofRight] = [pieces(left), pieces(right)];
  if (ofLeft === undefined || ofRight === undefined) return undefined;
  return merged(b, ofLeft, ofRight);
}

interface Piece {
  readonly value: ValueId;
  readonly start: number;
  readonly end: number;
  readonly zero: boolean;
}

/** Keeps the pieces that hold something, and zeros wherever neither side does, if zeros of the right width are at hand. */
function merged(b: GraphBuilder, left: readonly Piece[], right: readonly Piece[]): ValueId | undefined {
  const solid = [...left, ...right].filter((piece) => !piece.zero).sort((p, q) => p.start - q.start);
  const zeros = [...left, ...right].filter((piece) => piece.zero);
  const total = left.at(-1)?.end ?? 0;
  const parts: ValueId[] = [];
  let at = 0;
  for (const stop of [...solid, undefined]) {
    while (at < (stop?.start ?? total)) {
      const gap = zeros.find((piece) => piece.start === at && piece.end <= (stop?.start ?? total));
      if (gap === undefined) return undefined;
      parts.push(gap.value);
      at = gap.end;
    }
    if (stop === undefined) break;
    if (stop.start < at) return undefined;
    parts.push(stop.value);
    at = stop.end;
  }
  return concat(b, parts);
}

function sliceSample(name: string, shape: readonly number[], offset: number, width: number): Sample {
  return { name, inputs: [tensor('f32', ...shape)], attrs: { offset, width } };
}

function concatSample(name: string, leading: readonly number[], widths: readonly number[]): Sample {
  return { name, inputs: widths.map((width) => tensor('f32', ...leading, width)), attrs: {} };
}

/** Embedding: one row of the table per id. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { byteCount, elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, expect, type Op, type Sample, type VjpContext } from './op.ts';
import { at, axis, expectCount, expectFloat, expectRank, expectType, gradientOptions, only } from './rules.ts';

/** ids i32 [B,T], weight [V,D] → y [B,T,D]. Ids must lie in [0, V): the data layer refuses others. */
export function embedding(b: GraphBuilder, ids: ValueId, weight: ValueId): ValueId {
  return only(b.node('embedding', [ids, weight]));
}

export const embeddingOp: Op = {
  name: 'embedding',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 2);
    const [ids, weight] = [at(inputs, 0), at(inputs, 1)];
    expectRank(ids, 2, 'ids');
    expectType(ids, 'i32', ids.shape, 'ids');
    expectRank(weight, 2, 'weight');
    expectFloat(weight, 'weight');
    return [{ dtype: weight.dtype, shape: [...ids.shape, axis(weight, 1)] }];
  },
  flops: () => 0,
  bytesMoved: (inputs, outputs) => byteCount(at(inputs, 0)) + 2 * byteCount(at(outputs, 0)),
  vjp: (context) => [undefined, embeddingGradient(context)],
  saved: { inputs: [0], outputs: [] },
  merges: [1],
  bound: 'memory',
  reference(inputs, _attrs, types) {
    const [ids, weight] = [at(inputs, 0), at(inputs, 1)];
    const width = axis(at(types, 1), 1);
    const y = new Float64Array(ids.length * width);
    ids.forEach((id, token) => y.set(rowOf(weight, id, width), token * width));
    return [y];
  },
  samples: inEveryPrecision([
    sample('one token', 1, 1, 1, 1),
    sample('odd sizes', 3, 5, 7, 13),
    sample('several rows', 2, 17, 29, 48),
    sample('ids repeat', 2, 9, 2, 33),
  ], { activations: [1], rounds: true }),
};

function rowOf(table: Float64Array, id: number, width: number): Float64Array {
  const row = table.subarray(id * width, (id + 1) * width);
  if (id < 0 || row.length !== width) throw new RangeError(`id ${id} is not in a table of ${table.length / width} rows`);
  return row;
}

const FROM_ZERO = 0;
const ACCUMULATE = 1;
const MERGE = 2;

function embeddingGradient(context: VjpContext): ValueId | undefined {
  if (!context.needs(1)) return undefined;
  const dy = context.gradient(0);
  if (dy === undefined) return undefined;
  const { builder, node } = context;
  const [ids, weight] = [at(node.inputs, 0), at(node.inputs, 1)];
  const vocabulary = axis(builder.type(weight), 0);
  const accumulator = context.accumulator(1);
  const merged = context.merge(1);
  if (accumulator !== undefined && merged !== undefined) throw new Error('embedding: a gradient is either accumulated or merged');
  const before = accumulator ?? merged;
  if (before === undefined) {
    return only(builder.node('embedding_backward', [ids, dy], { vocabulary, mode: FROM_ZERO }, gradientOptions(context, 1)));
  }
  const mode = accumulator !== undefined ? ACCUMULATE : MERGE;
  return only(builder.node('embedding_backward', [ids, dy, before], { vocabulary, mode }, { storage: 'gradient', overwrites: [{ output: 0, input: 2 }] }));
}

/**
 * ids i32 [B,T], dy [B,T,D], (dw f32 [V,D] when mode > 0) → dw f32 [V,D].
 * Mode 0 sums from zero in token order, 1 continues the given sum token by token, 2 sums each id's tokens from zero and adds that
 * to the given gradient, which belongs to the other use of a tied weight. In f64 modes 1 and 2 are the same.
 */
export const embeddingBackwardOp: Op = {
  name: 'embedding_backward',
  attrs: ['vocabulary', 'mode'],
  infer(inputs, attrs) {
    const mode = attr(attrs, 'mode');
    expect(mode === FROM_ZERO || mode === ACCUMULATE || mode === MERGE, `mode must be 0, 1 or 2, got ${mode}`);
    expectCount(inputs, mode === FROM_ZERO ? 2 : 3);
    const [ids, dy] = [at(inputs, 0), at(inputs, 1)];
    expectRank(dy, 3, 'dy');
    expectFloat(dy, 'dy');
    expectType(ids, 'i32', dy.shape.slice(0, 2), 'ids');
    const gradient = tensor('f32', attr(attrs, 'vocabulary'), axis(dy, 2));
    if (mode !== FROM_ZERO) expectType(at(inputs, 2), 'f32', gradient.shape, 'dw');
    return [gradient];
  },
  flops: (inputs) => elementCount(at(inputs, 1).shape),
  bytesMoved(inputs, outputs, attrs) {
    const rows = byteCount(at(inputs, 0)) + 3 * byteCount(at(inputs, 1));
    return attr(attrs, 'mode') === FROM_ZERO ? rows + byteCount(at(outputs, 0)) : rows;
  },
  mustOverwrite: (attrs) => (attr(attrs, 'mode') === FROM_ZERO ? [] : [{ output: 0, input: 2 }]),
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [ids, dy] = [at(inputs, 0), at(inputs, 1)];
    const width = axis(at(types, 1), 2);
    const dw = attr(attrs, 'mode') === FROM_ZERO ? new Float64Array(attr(attrs, 'vocabulary') * width) : at(inputs, 2).slice();
    ids.forEach((id, token) => {
      const row = rowOf(dw, id, width);
      for (let j = 0; j < width; j++) row[j]! += dy[token * width + j]!;
    });
    return [dw];
  },
  samples: inEveryPrecision([FROM_ZERO, ACCUMULATE, MERGE].flatMap((mode) => [
    backwardSample('one token', 1, 1, 1, 1, mode),
    backwardSample('ids repeat', 2, 9, 3, 13, mode),
    backwardSample('most rows without tokens', 2, 17, 129, 48, mode),
  ]), { activations: [1], rounds: false }),
};

function idsBelow(vocabulary: number, count: number): Sample['fill'] {
  return (index, random) => (index === 0 ? Array.from({ length: count }, () => Math.floor(random() * vocabulary)) : undefined);
}

function sample(name: string, rows: number, length: number, vocabulary: number, width: number): Sample {
  const inputs = [tensor('i32', rows, length), tensor('f32', vocabulary, width)];
  return { name, inputs, attrs: {}, fill: idsBelow(vocabulary, rows * length)! };
}

function backwardSample(name: string, rows: number, length: number, vocabulary: number, width: number, mode: number): Sample {
  const plain: TensorType[] = [tensor('i32', rows, length), tensor('f32', rows, length, width)];
  const inputs = mode === FROM_ZERO ? plain : [...plain, tensor('f32', vocabulary, width)];
  return { name: `${name}, mode ${mode}`, inputs, attrs: { vocabulary, mode }, fill: idsBelow(vocabulary, rows * length)! };
}

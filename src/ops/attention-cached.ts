/** Generation: attention over a cache of keys and values whose filled length is a runtime input, and what fills and reads it. No gradients. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { byteCount, lastAxis, tensor, type TensorType } from '../graph/shape.ts';
import { HEAD_ATTRS, expectHeads, headAttrs, headsOf, type HeadOptions } from './attention.ts';
import { expect, type Op, type Sample } from './op.ts';
import { at, axis, expectCount, expectFloat, expectLike, expectRank, expectType, only } from './rules.ts';

export interface CachedAttentionInputs extends HeadOptions {
  /** [B,T,H·K]. */
  readonly q: ValueId;
  /** [B,C,G·K], these T tokens already written. */
  readonly kCache: ValueId;
  /** [B,C,G·K], these T tokens already written. */
  readonly vCache: ValueId;
  /** i32 [1]: tokens in the cache before these. */
  readonly cacheLength: ValueId;
}

/** o [B,T,H·K]: query t, at position cacheLength + t, sees the cache slots 0 … cacheLength + t. */
export function attentionCached(b: GraphBuilder, { q, kCache, vCache, cacheLength, ...options }: CachedAttentionInputs): ValueId {
  return only(b.node('attention_cached', [q, kCache, vCache, cacheLength], headAttrs(options)));
}

/** cache [B,C,M] with x [B,T,M] in the slots cacheLength … cacheLength + T − 1, in the same bytes; slots beyond C are dropped. */
export function cacheWrite(b: GraphBuilder, cache: ValueId, x: ValueId, cacheLength: ValueId): ValueId {
  return only(b.node('cache_write', [cache, x, cacheLength], {}, { overwrites: [{ output: 0, input: 0 }] }));
}

/** x [B,T,D], index i32 [1] → y [B,1,D]: the token at `index` of each row. */
export function selectToken(b: GraphBuilder, x: ValueId, index: ValueId): ValueId {
  return only(b.node('select_token', [x, index]));
}

export const attentionCachedOp: Op = {
  name: 'attention_cached',
  attrs: HEAD_ATTRS,
  infer(inputs, attrs) {
    expectCount(inputs, 4);
    const { heads, groups, width } = expectHeads(attrs);
    const [q, k] = [at(inputs, 0), at(inputs, 1)];
    expectRank(q, 3, 'q');
    expectFloat(q, 'q');
    expect(axis(q, 2) === heads * width, `q must be ${heads} heads of ${width} wide`);
    expectRank(k, 3, 'key cache');
    expectType(k, q.dtype, [axis(q, 0), axis(k, 1), groups * width], 'key cache');
    expectLike(at(inputs, 2), k, 'value cache');
    expectType(at(inputs, 3), 'i32', [1], 'cache length');
    return [q];
  },
  flops: (inputs) => 4 * axis(at(inputs, 0), 0) * axis(at(inputs, 0), 1) * lastAxis(at(inputs, 0).shape) * axis(at(inputs, 1), 1),
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [q, k, v, filled] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 3)[0]!];
    const { heads, groups, width, scale, groupOf } = headsOf(attrs);
    const [length, capacity] = [axis(at(types, 0), 1), axis(at(types, 1), 1)];
    const o = new Float64Array(q.length);
    for (let query = 0; query < q.length / width; query++) {
      const token = Math.floor(query / heads);
      const [row, group] = [Math.floor(token / length), groupOf(query % heads)];
      const seen = Math.min(capacity, filled + (token % length) + 1);
      const from = (slot: number): number => ((row * capacity + slot) * groups + group) * width;
      const scores = Array.from({ length: seen }, (_, slot) => {
        let product = 0;
        for (let j = 0; j < width; j++) product += q[query * width + j]! * k[from(slot) + j]!;
        return scale * product;
      });
      const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      const sum = scores.reduce((total, score) => total + Math.exp(score - largest), 0);
      scores.forEach((score, slot) => {
        for (let j = 0; j < width; j++) o[query * width + j]! += (Math.exp(score - largest) / sum) * v[from(slot) + j]!;
      });
    }
    return [o];
  },
  samples: [
    cachedSample('size 1', { rows: 1, length: 1, capacity: 1, heads: 1, groups: 1, width: 1, filled: 0 }),
    cachedSample('prefill', { rows: 1, length: 13, capacity: 40, heads: 4, groups: 2, width: 6, filled: 0 }),
    cachedSample('one token', { rows: 2, length: 1, capacity: 200, heads: 3, groups: 1, width: 5, filled: 150 }),
    cachedSample('last slot', { rows: 1, length: 1, capacity: 17, heads: 2, groups: 2, width: 16, filled: 16 }),
    cachedSample('several tokens later', { rows: 2, length: 7, capacity: 64, heads: 2, groups: 1, width: 20, filled: 31 }),
  ],
};

export const cacheWriteOp: Op = {
  name: 'cache_write',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 3);
    const [cache, x] = [at(inputs, 0), at(inputs, 1)];
    expectRank(cache, 3, 'cache');
    expectFloat(cache, 'cache');
    expectRank(x, 3, 'x');
    expectType(x, cache.dtype, [axis(cache, 0), axis(x, 1), axis(cache, 2)], 'x');
    expectType(at(inputs, 2), 'i32', [1], 'cache length');
    return [cache];
  },
  flops: () => 0,
  bytesMoved: (inputs) => 2 * byteCount(at(inputs, 1)),
  mustOverwrite: () => [{ output: 0, input: 0 }],
  bound: 'memory',
  reference(inputs, _attrs, types) {
    const [cache, x, filled] = [at(inputs, 0).slice(), at(inputs, 1), at(inputs, 2)[0]!];
    const [capacity, length, width] = [axis(at(types, 0), 1), axis(at(types, 1), 1), lastAxis(at(types, 1).shape)];
    for (let token = 0; token < x.length / width; token++) {
      const slot = filled + (token % length);
      const row = Math.floor(token / length);
      if (slot < capacity) cache.set(x.subarray(token * width, (token + 1) * width), (row * capacity + slot) * width);
    }
    return [cache];
  },
  samples: [
    writeSample('size 1', { rows: 1, length: 1, capacity: 1, width: 1, filled: 0 }),
    writeSample('from the start', { rows: 2, length: 5, capacity: 9, width: 13, filled: 0 }),
    writeSample('later', { rows: 2, length: 1, capacity: 9, width: 24, filled: 7 }),
    writeSample('beyond the end', { rows: 2, length: 5, capacity: 9, width: 3, filled: 7 }),
  ],
};

export const selectTokenOp: Op = {
  name: 'select_token',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 2);
    const x = at(inputs, 0);
    expectRank(x, 3, 'x');
    expectFloat(x, 'x');
    expectType(at(inputs, 1), 'i32', [1], 'index');
    return [{ dtype: x.dtype, shape: [axis(x, 0), 1, axis(x, 2)] }];
  },
  flops: () => 0,
  bytesMoved: (_inputs, outputs) => 2 * byteCount(at(outputs, 0)),
  bound: 'memory',
  reference(inputs, _attrs, types) {
    const [x, index] = [at(inputs, 0), at(inputs, 1)[0]!];
    const [rows, length, width] = [axis(at(types, 0), 0), axis(at(types, 0), 1), axis(at(types, 0), 2)];
    if (index < 0 || index >= length) throw new RangeError(`token ${index} of ${length}`);
    const y = new Float64Array(rows * width);
    for (let row = 0; row < rows; row++) y.set(x.subarray((row * length + index) * width, (row * length + index + 1) * width), row * width);
    return [y];
  },
  samples: [
    selectSample('size 1', 1, 1, 1, 0),
    selectSample('first', 2, 5, 13, 0),
    selectSample('in the middle', 3, 7, 24, 4),
    selectSample('last', 2, 5, 3, 4),
  ],
};

interface CachedCase {
  readonly rows: number;
  readonly length: number;
  readonly capacity: number;
  readonly heads: number;
  readonly groups: number;
  readonly width: number;
  readonly filled: number;
}

function cachedSample(name: string, { rows, length, capacity, heads, groups, width, filled }: CachedCase): Sample {
  const cache: TensorType = tensor('f32', rows, capacity, groups * width);
  return {
    name,
    inputs: [tensor('f32', rows, length, heads * width), cache, cache, tensor('i32', 1)],
    attrs: headAttrs({ heads, keyValueHeads: groups, headWidth: width }),
    fill: (index) => (index === 3 ? [filled] : undefined),
  };
}

function writeSample(name: string, { rows, length, capacity, width, filled }: Pick<CachedCase, 'rows' | 'length' | 'capacity' | 'width' | 'filled'>): Sample {
  return {
    name,
    inputs: [tensor('f32', rows, capacity, width), tensor('f32', rows, length, width), tensor('i32', 1)],
    attrs: {},
    fill: (index) => (index === 2 ? [filled] : undefined),
  };
}

function selectSample(name: string, rows: number, length: number, width: number, index: number): Sample {
  return { name, inputs: [tensor('f32', rows, length, width), tensor('i32', 1)], attrs: {}, fill: (input) => (input === 1 ? [index] : undefined) };
}

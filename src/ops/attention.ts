/**
 * Causal attention with grouped key/value heads (Vaswani et al. 2017; Ainslie et al. 2023) that keeps packed documents apart. Kernels
 * tile it with an online softmax (Dao et al. 2022): no T×T tensor exists, and one log-sum-exp per query and head is saved.
 */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Attrs, ValueId } from '../graph/graph.ts';
import { axis, at, expectCount, expectFloat, expectLike, expectPositiveInteger, expectRank, expectType, only, outputGradient } from './rules.ts';
import { inEveryPrecision } from './low-precision.ts';
import { lastAxis, tensor, type TensorType } from '../graph/shape.ts';
import { attr, expect, type Op, type Sample } from './op.ts';

export interface HeadOptions {
  readonly heads: number;
  /** Divides `heads`; query head h reads key/value head ⌊h·G/H⌋. */
  readonly keyValueHeads: number;
  readonly headWidth: number;
  /** Multiplies q·k; 1/√headWidth when left out. */
  readonly scale?: number;
}

export interface AttentionInputs extends HeadOptions {
  /** [B,T,H·K]. */
  readonly q: ValueId;
  /** [B,T,G·K]. */
  readonly k: ValueId;
  /** [B,T,G·K]. */
  readonly v: ValueId;
  /** i32 [B,T]: index in the row of the first token of each token's document, never after the token. */
  readonly documentStart: ValueId;
}

/** o [B,T,H·K]: query t sees the tokens documentStart[t] … t of its row. Its lse f32 [B,T,H] = log Σ exp(scale·q·k) is saved for backward. */
export function attention(b: GraphBuilder, { q, k, v, documentStart, ...options }: AttentionInputs): ValueId {
  return only(b.node('attention', [q, k, v, documentStart], headAttrs(options)));
}

export const HEAD_ATTRS = ['heads', 'keyValueHeads', 'headWidth', 'scale'];

export function headAttrs({ heads, keyValueHeads, headWidth, scale }: HeadOptions): Attrs {
  return { heads, keyValueHeads, headWidth, scale: scale ?? 1 / Math.sqrt(headWidth) };
}

export interface Heads {
  readonly heads: number;
  readonly groups: number;
  readonly width: number;
  readonly scale: number;
  /** The key/value head that query head `head` reads. */
  groupOf(head: number): number;
}

export function headsOf(attrs: Attrs): Heads {
  const [heads, groups, width, scale] = [attr(attrs, 'heads'), attr(attrs, 'keyValueHeads'), attr(attrs, 'headWidth'), attr(attrs, 'scale')];
  return { heads, groups, width, scale, groupOf: (head) => Math.floor((head * groups) / heads) };
}

export function expectHeads(attrs: Attrs): Heads {
  const heads = headsOf(attrs);
  expectPositiveInteger(heads.heads, 'heads');
  expectPositiveInteger(heads.groups, 'keyValueHeads');
  expectPositiveInteger(heads.width, 'headWidth');
  expect(heads.heads % heads.groups === 0, `${heads.heads} heads are not a multiple of ${heads.groups} key/value heads`);
  return heads;
}

function expectQkv(inputs: readonly TensorType[], attrs: Attrs): { readonly q: TensorType; readonly k: TensorType; readonly lse: TensorType } {
  const { heads, groups, width } = expectHeads(attrs);
  const [q, k] = [at(inputs, 0), at(inputs, 1)];
  expectRank(q, 3, 'q');
  expectFloat(q, 'q');
  const [rows, length] = [axis(q, 0), axis(q, 1)];
  expect(axis(q, 2) === heads * width, `q must be ${heads} heads of ${width} wide`);
  expectType(k, q.dtype, [rows, length, groups * width], 'k');
  expectLike(at(inputs, 2), k, 'v');
  expectType(at(inputs, 3), 'i32', [rows, length], 'document start');
  return { q, k, lse: tensor('f32', rows, length, heads) };
}

/** Multiply-adds of one product over the causal half, times 2. */
function halfProduct(q: TensorType): number {
  const length = axis(q, 1);
  return 2 * axis(q, 0) * lastAxis(q.shape) * ((length * (length + 1)) / 2);
}

export const attentionOp: Op = {
  name: 'attention',
  attrs: HEAD_ATTRS,
  infer(inputs, attrs) {
    expectCount(inputs, 4);
    const { q, lse } = expectQkv(inputs, attrs);
    return [q, lse];
  },
  flops: (inputs) => 2 * halfProduct(at(inputs, 0)),
  vjp(context) {
    const d = outputGradient(context);
    const { builder, node } = context;
    const [o, lse] = [at(node.outputs, 0), at(node.outputs, 1)];
    const gradients = builder.node('attention_backward', [...node.inputs, o, lse, d], node.attrs);
    return [0, 1, 2].map((index) => (context.needs(index) ? at(gradients, index) : undefined)).concat([undefined]);
  },
  saved: { inputs: [0, 1, 2, 3], outputs: [0, 1] },
  bound: 'compute',
  reference(inputs, attrs, types) {
    const [q, v] = [at(inputs, 0), at(inputs, 2)];
    const { heads, groups, width } = headsOf(attrs);
    const o = new Float64Array(q.length);
    const lse = new Float64Array(q.length / width);
    forEachQuery(inputs, attrs, at(types, 0), ({ query, group, keys, scores }) => {
      const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      const sum = scores.reduce((total, score) => total + Math.exp(score - largest), 0);
      lse[query] = largest + Math.log(sum);
      scores.forEach((score, i) => {
        const weight = Math.exp(score - largest) / sum;
        const from = (keys[i]! * groups + group) * width;
        for (let j = 0; j < width; j++) o[query * width + j]! += weight * v[from + j]!;
      });
    });
    if (lse.length % heads !== 0) throw new RangeError('queries are not whole tokens');
    return [o, lse];
  },
  samples: inEveryPrecision(cases(({ q, k, starts }) => [q, k, k, starts]), { activations: [0, 1, 2], rounds: true }),
};

interface Query {
  /** Index of (token, head) in [B,T,H]. */
  readonly query: number;
  readonly group: number;
  /** Tokens seen, counted over all rows. */
  readonly keys: readonly number[];
  /** scale · q·k of each. */
  readonly scores: readonly number[];
}

function forEachQuery(inputs: readonly Float64Array[], attrs: Attrs, type: TensorType, visit: (query: Query) => void): void {
  const [q, k, starts] = [at(inputs, 0), at(inputs, 1), at(inputs, 3)];
  const { heads, groups, width, scale, groupOf } = headsOf(attrs);
  const length = axis(type, 1);
  starts.forEach((start, token) => {
    const t = token % length;
    if (start < 0 || start > t) throw new RangeError(`document start ${start} of token ${t}`);
    const keys = Array.from({ length: t - start + 1 }, (_, i) => token - t + start + i);
    for (let head = 0; head < heads; head++) {
      const query = token * heads + head;
      const group = groupOf(head);
      const scores = keys.map((key) => {
        let product = 0;
        for (let j = 0; j < width; j++) product += q[query * width + j]! * k[(key * groups + group) * width + j]!;
        return scale * product;
      });
      visit({ query, group, keys, scores });
    }
  });
}

/**
 * q, k, v, documentStart, o, lse, do → dq, dk, dv. With p = exp(scale·q·k − lse): dv = Σ p·do,
 * ds = p·(do·v − do·o), dq = scale·Σ ds·k, dk = scale·Σ ds·q; dk and dv sum over the query heads of a group, in head order.
 */
export const attentionBackwardOp: Op = {
  name: 'attention_backward',
  attrs: HEAD_ATTRS,
  infer(inputs, attrs) {
    expectCount(inputs, 7);
    const { q, k, lse } = expectQkv(inputs, attrs);
    expectLike(at(inputs, 4), q, 'o');
    expectType(at(inputs, 5), 'f32', lse.shape, 'lse');
    expectLike(at(inputs, 6), q, 'gradient of o');
    return [q, k, k];
  },
  flops: (inputs) => 5 * halfProduct(at(inputs, 0)),
  bound: 'compute',
  reference(inputs, attrs, types) {
    const [q, k, v] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
    const [o, lse, d] = [at(inputs, 4), at(inputs, 5), at(inputs, 6)];
    const { groups, width, scale } = headsOf(attrs);
    const [dq, dk, dv] = [new Float64Array(q.length), new Float64Array(k.length), new Float64Array(v.length)];
    forEachQuery(inputs, attrs, at(types, 0), ({ query, group, keys, scores }) => {
      const to = query * width;
      let kept = 0;
      for (let j = 0; j < width; j++) kept += d[to + j]! * o[to + j]!;
      scores.forEach((score, i) => {
        const from = (keys[i]! * groups + group) * width;
        const p = Math.exp(score - lse[query]!);
        let dp = 0;
        for (let j = 0; j < width; j++) dp += d[to + j]! * v[from + j]!;
        const ds = scale * p * (dp - kept);
        for (let j = 0; j < width; j++) {
          dv[from + j]! += p * d[to + j]!;
          dq[to + j]! += ds * k[from + j]!;
          dk[from + j]! += ds * q[to + j]!;
        }
      });
    });
    return [dq, dk, dv];
  },
  samples: inEveryPrecision(
    cases(({ q, k, starts, lse }) => [q, k, k, starts, q, lse, q], [
      ['several chunks of keys', { rows: 2, length: 401, heads: 2, groups: 1, width: 5, cut: 0.005 }],
    ]).map((sample) => ({ ...sample, tolerance: 1e-5 })),
    { activations: [0, 1, 2, 4, 6], rounds: true },
  ),
};

type Parts = Readonly<Record<'q' | 'k' | 'starts' | 'lse', TensorType>>;

interface Case {
  readonly rows: number;
  readonly length: number;
  readonly heads: number;
  readonly groups: number;
  readonly width: number;
  /** Chance that a token starts a document. */
  readonly cut: number;
  readonly scale?: number;
}

function cases(pick: (parts: Parts) => readonly TensorType[], more: readonly (readonly [string, Case])[] = []): readonly Sample[] {
  const one = (name: string, { rows, length, heads, groups, width, cut, scale }: Case): Sample => ({
    name,
    inputs: pick({
      q: tensor('f32', rows, length, heads * width),
      k: tensor('f32', rows, length, groups * width),
      starts: tensor('i32', rows, length),
      lse: tensor('f32', rows, length, heads),
    }),
    attrs: headAttrs({ heads, keyValueHeads: groups, headWidth: width, ...(scale === undefined ? {} : { scale }) }),
    fill: (index, random) => (index === 3 ? documentStarts(rows, length, cut, random) : undefined),
  });
  return [
    one('size 1', { rows: 1, length: 1, heads: 1, groups: 1, width: 1, cut: 0 }),
    one('one document', { rows: 2, length: 19, heads: 2, groups: 2, width: 8, cut: 0 }),
    one('grouped heads', { rows: 2, length: 13, heads: 4, groups: 2, width: 6, cut: 0 }),
    one('one key/value head, odd width', { rows: 1, length: 23, heads: 3, groups: 1, width: 5, cut: 0.2 }),
    one('several documents', { rows: 3, length: 37, heads: 2, groups: 1, width: 16, cut: 0.15 }),
    one('more than a tile', { rows: 1, length: 133, heads: 2, groups: 1, width: 20, cut: 0.02 }),
    one('given scale', { rows: 1, length: 9, heads: 2, groups: 2, width: 4, cut: 0.1, scale: 0.125 }),
    ...more.map(([name, sizes]) => one(name, sizes)),
  ];
}

function documentStarts(rows: number, length: number, cut: number, random: () => number): readonly number[] {
  return Array.from({ length: rows }, () => {
    let start = 0;
    return Array.from({ length }, (_, t) => (start = t > 0 && random() < cut ? t : start));
  }).flat();
}

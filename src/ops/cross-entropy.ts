/** Softmax cross-entropy of each token, weighted and summed per row. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import type { Op, Sample } from './op.ts';
import { at, axis, expectCount, expectFloat, expectRank, expectType, only, outputGradient } from './rules.ts';

export interface CrossEntropyInputs {
  /** [B,T,V]. */
  readonly logits: ValueId;
  /** i32 [B,T]: the next token's id; below 0 the token is ignored. Ids of V or more are refused by the data layer. */
  readonly labels: ValueId;
  /** f32 [1]: 1 / (trained tokens of the update). */
  readonly lossWeight: ValueId;
}

/** → rowLoss f32 [B] = lossWeight · Σ over the row's labelled tokens (lse − logit[label]); its lse f32 [B,T] is saved for backward. */
export function crossEntropy(b: GraphBuilder, inputs: CrossEntropyInputs): ValueId {
  return only(b.node('cross_entropy', [inputs.logits, inputs.labels, inputs.lossWeight]));
}

function expectLogits(inputs: readonly TensorType[]): { readonly rows: number; readonly length: number } {
  const logits = at(inputs, 0);
  expectRank(logits, 3, 'logits');
  expectFloat(logits, 'logits');
  const [rows, length] = [axis(logits, 0), axis(logits, 1)];
  expectType(at(inputs, 1), 'i32', [rows, length], 'labels');
  return { rows, length };
}

export const crossEntropyOp: Op = {
  name: 'cross_entropy',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 3);
    const { rows, length } = expectLogits(inputs);
    expectType(at(inputs, 2), 'f32', [1], 'loss weight');
    return [tensor('f32', rows), tensor('f32', rows, length)];
  },
  flops: (inputs) => 4 * elementCount(at(inputs, 0).shape),
  vjp(context) {
    if (!context.needs(0)) return [undefined, undefined, undefined];
    const dRowLoss = outputGradient(context);
    const { builder, node } = context;
    const [logits, labels, lossWeight] = [at(node.inputs, 0), at(node.inputs, 1), at(node.inputs, 2)];
    const dlogits = only(builder.node('cross_entropy_backward', [logits, labels, at(node.outputs, 1), lossWeight, dRowLoss]));
    return [dlogits, undefined, undefined];
  },
  saved: { inputs: [0, 1, 2], outputs: [1] },
  bound: 'memory',
  reference(inputs, _attrs, types) {
    const [logits, labels, lossWeight] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)[0]!];
    const [rows, length, vocabulary] = [axis(at(types, 0), 0), axis(at(types, 0), 1), axis(at(types, 0), 2)];
    const rowLoss = new Float64Array(rows);
    const lse = new Float64Array(rows * length);
    for (let token = 0; token < lse.length; token++) {
      const of = logits.subarray(token * vocabulary, (token + 1) * vocabulary);
      const largest = of.reduce((a, b) => Math.max(a, b), -Infinity);
      lse[token] = largest + Math.log(of.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
      const label = labels[token]!;
      if (label >= vocabulary) throw new RangeError(`label ${label} is not below ${vocabulary}`);
      if (label >= 0) rowLoss[Math.floor(token / length)]! += lossWeight * (lse[token]! - of[label]!);
    }
    return [rowLoss, lse];
  },
  samples: cases(({ logits, labels, weight }) => [logits, labels, weight]),
};

/** logits, labels, lse, lossWeight, dRowLoss f32 [B] → dlogits = (exp(logit − lse) − onehot)·lossWeight·dRowLoss[b]; exact 0 for ignored tokens. */
export const crossEntropyBackwardOp: Op = {
  name: 'cross_entropy_backward',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 5);
    const { rows, length } = expectLogits(inputs);
    expectType(at(inputs, 2), 'f32', [rows, length], 'lse');
    expectType(at(inputs, 3), 'f32', [1], 'loss weight');
    expectType(at(inputs, 4), 'f32', [rows], 'gradient of the row loss');
    return [at(inputs, 0)];
  },
  flops: (inputs) => 4 * elementCount(at(inputs, 0).shape),
  mayOverwrite: [{ output: 0, input: 0 }],
  bound: 'memory',
  reference(inputs, _attrs, types) {
    const [logits, labels, lse, dRowLoss] = [at(inputs, 0), at(inputs, 1), at(inputs, 2), at(inputs, 4)];
    const lossWeight = at(inputs, 3)[0]!;
    const [length, vocabulary] = [axis(at(types, 0), 1), axis(at(types, 0), 2)];
    const dlogits = new Float64Array(logits.length);
    labels.forEach((label, token) => {
      if (label < 0) return;
      const factor = lossWeight * dRowLoss[Math.floor(token / length)]!;
      for (let v = 0; v < vocabulary; v++) {
        const index = token * vocabulary + v;
        dlogits[index] = (Math.exp(logits[index]! - lse[token]!) - (v === label ? 1 : 0)) * factor;
      }
    });
    return [dlogits];
  },
  samples: cases(({ logits, labels, lse, weight, rows }) => [logits, labels, lse, weight, rows]),
};

type Parts = Readonly<Record<'logits' | 'labels' | 'lse' | 'weight' | 'rows', TensorType>>;

function cases(pick: (parts: Parts) => readonly TensorType[]): readonly Sample[] {
  const one = (name: string, rows: number, length: number, vocabulary: number, ignored: number): Sample => ({
    name,
    inputs: pick({
      logits: tensor('f32', rows, length, vocabulary),
      labels: tensor('i32', rows, length),
      lse: tensor('f32', rows, length),
      weight: tensor('f32', 1),
      rows: tensor('f32', rows),
    }),
    attrs: {},
    fill(index, random) {
      if (index === 0) return Array.from({ length: rows * length * vocabulary }, () => 6 * random() - 3);
      if (index !== 1) return undefined;
      return Array.from({ length: rows * length }, () => (random() < ignored ? -100 : Math.floor(random() * vocabulary)));
    },
  });
  return [
    one('two classes', 1, 1, 2, 0),
    one('odd sizes', 3, 5, 13, 0),
    one('some ignored', 2, 17, 129, 0.5),
    one('all ignored', 2, 5, 33, 1),
    one('larger vocabulary', 1, 9, 5003, 0.2),
  ];
}

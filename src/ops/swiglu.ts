/** SwiGLU (Shazeer 2020): the gated activation of Llama and its kin. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import type { Op, Sample } from './op.ts';
import { at, expectCount, expectFloat, expectLike, only, outputGradient } from './rules.ts';

/** gate [...], up [...] → y [...] = gate · sigmoid(gate) · up. */
export function swiglu(b: GraphBuilder, gate: ValueId, up: ValueId): ValueId {
  return only(b.node('swiglu', [gate, up]));
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

export const swigluOp: Op = {
  name: 'swiglu',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 2);
    const gate = at(inputs, 0);
    expectFloat(gate, 'gate');
    expectLike(at(inputs, 1), gate, 'up');
    return [gate];
  },
  flops: (inputs) => 6 * elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    const [dgate, dup] = context.builder.node('swiglu_backward', [...context.node.inputs, dy]);
    return [context.needs(0) ? dgate : undefined, context.needs(1) ? dup : undefined];
  },
  saved: { inputs: [0, 1], outputs: [] },
  bound: 'memory',
  reference(inputs) {
    const [gate, up] = [at(inputs, 0), at(inputs, 1)];
    return [gate.map((g, i) => g * sigmoid(g) * up[i]!)];
  },
  samples: cases(2),
};

/** gate, up, dy → dgate = dy·up·s·(1 + gate·(1 − s)), dup = dy·gate·s with s = sigmoid(gate). */
export const swigluBackwardOp: Op = {
  name: 'swiglu_backward',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 3);
    const gate = at(inputs, 0);
    expectFloat(gate, 'gate');
    expectLike(at(inputs, 1), gate, 'up');
    expectLike(at(inputs, 2), gate, 'dy');
    return [gate, gate];
  },
  flops: (inputs) => 12 * elementCount(at(inputs, 0).shape),
  mayOverwrite: [{ output: 0, input: 0 }, { output: 0, input: 2 }, { output: 1, input: 1 }],
  bound: 'memory',
  reference(inputs) {
    const [gate, up, dy] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
    const dgate = gate.map((g, i) => dy[i]! * up[i]! * sigmoid(g) * (1 + g * (1 - sigmoid(g))));
    const dup = gate.map((g, i) => dy[i]! * g * sigmoid(g));
    return [dgate, dup];
  },
  samples: cases(3),
};

function cases(inputCount: number): readonly Sample[] {
  const one = (name: string, type: TensorType, spread: number): Sample => ({
    name,
    inputs: Array.from({ length: inputCount }, () => type),
    attrs: {},
    fill: (index, random) => (index === 0 ? Array.from({ length: elementCount(type.shape) }, () => (2 * random() - 1) * spread) : undefined),
  });
  return inEveryPrecision([
    one('size 1', tensor('f32', 1), 1),
    one('odd sizes', tensor('f32', 3, 5, 13), 4),
    one('more than a block', tensor('f32', 2, 33, 131), 4),
    one('wide range', tensor('f32', 7, 11), 80),
  ], { activations: [0, 1, 2], rounds: true });
}

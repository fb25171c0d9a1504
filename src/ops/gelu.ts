/** GELU (Hendrycks & Gimpel 2016), exact or by the tanh approximation of GPT-2. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor } from '../graph/shape.ts';
import { erf } from './erf.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFlag, expectFloat, expectLike, only, outputGradient } from './rules.ts';

/**
 * x [...] → y [...]. 'none': x·Φ(x) with the normal distribution function Φ; 'tanh': ½x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
 * Hugging Face calls them `gelu` and `gelu_new` / `gelu_pytorch_tanh`.
 */
export function gelu(b: GraphBuilder, x: ValueId, options: { readonly approximate: 'none' | 'tanh' }): ValueId {
  return only(b.node('gelu', [x], { tanh: options.approximate === 'tanh' ? 1 : 0 }));
}

const CUBIC = 0.044715;
const ROOT = Math.sqrt(2 / Math.PI);

function distribution(x: number, useTanh: boolean): number {
  return useTanh ? 0.5 * (1 + Math.tanh(ROOT * (x + CUBIC * x ** 3))) : 0.5 * (1 + erf(x / Math.SQRT2));
}

function slope(x: number, useTanh: boolean): number {
  if (!useTanh) return distribution(x, false) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
  const t = Math.tanh(ROOT * (x + CUBIC * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT * (1 + 3 * CUBIC * x * x);
}

export const geluOp: Op = {
  name: 'gelu',
  attrs: ['tanh'],
  infer(inputs, attrs) {
    expectCount(inputs, 1);
    expectFlag(attr(attrs, 'tanh'), 'tanh');
    expectFloat(at(inputs, 0), 'x');
    return [at(inputs, 0)];
  },
  flops: (inputs) => 10 * elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    return [context.needs(0) ? only(context.builder.node('gelu_backward', [at(context.node.inputs, 0), dy], context.node.attrs)) : undefined];
  },
  saved: { inputs: [0], outputs: [] },
  mayOverwrite: [{ output: 0, input: 0 }],
  bound: 'memory',
  reference(inputs, attrs) {
    const useTanh = attr(attrs, 'tanh') === 1;
    return [at(inputs, 0).map((x) => x * distribution(x, useTanh))];
  },
  samples: cases(1),
};

/** x, dy → dx = dy · gelu'(x). */
export const geluBackwardOp: Op = {
  name: 'gelu_backward',
  attrs: ['tanh'],
  infer(inputs, attrs) {
    expectCount(inputs, 2);
    expectFlag(attr(attrs, 'tanh'), 'tanh');
    expectFloat(at(inputs, 0), 'x');
    expectLike(at(inputs, 1), at(inputs, 0), 'dy');
    return [at(inputs, 0)];
  },
  flops: (inputs) => 16 * elementCount(at(inputs, 0).shape),
  mayOverwrite: [{ output: 0, input: 0 }, { output: 0, input: 1 }],
  bound: 'memory',
  reference(inputs, attrs) {
    const [x, dy] = [at(inputs, 0), at(inputs, 1)];
    const useTanh = attr(attrs, 'tanh') === 1;
    return [x.map((element, i) => dy[i]! * slope(element, useTanh))];
  },
  samples: cases(2),
};

function cases(inputCount: number): readonly Sample[] {
  const one = (name: string, shape: readonly number[], tanh: number, spread: number): Sample => ({
    name: tanh === 1 ? `${name}, tanh` : name,
    inputs: Array.from({ length: inputCount }, () => tensor('f32', ...shape)),
    attrs: { tanh },
    fill: (index, random) => (index === 0 ? Array.from({ length: elementCount(shape) }, () => (2 * random() - 1) * spread) : undefined),
  });
  return inEveryPrecision([0, 1].flatMap((tanh) => [
    one('size 1', [1], tanh, 1),
    one('odd sizes', [3, 5, 13], tanh, 5),
    one('more than a block', [2, 33, 131], tanh, 3),
    one('wide range', [7, 11], tanh, 30),
  ]), { activations: [0, 1], rounds: true });
}

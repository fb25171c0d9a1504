/** The table as a whole, and what single ops promise besides their gradient. */

import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../base/errors.ts';
import { RandomStream } from '../base/random.ts';
import { interpret } from '../devices/reference/interpret.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Node, ValueId } from '../graph/graph.ts';
import { byteCount, elementCount, tensor } from '../graph/shape.ts';
import { adamwUpdate } from './adamw.ts';
import { attentionCached, cacheWrite } from './attention-cached.ts';
import { attention } from './attention.ts';
import { crossEntropy } from './cross-entropy.ts';
import { embedding } from './embedding.ts';
import { erf } from './erf.ts';
import { globalNorm } from './global-norm.ts';
import { OPS, bytesMoved, opOf, shapeRules } from './index.ts';
import { linearCrossEntropy } from './linear-cross-entropy.ts';
import { conv1d, linear } from './matmul.ts';
import { add, slice } from './pointwise.ts';
import { at } from './rules.ts';
import { sgdUpdate } from './sgd.ts';
import { fillSample } from './testing/fill.ts';

describe('the table', () => {
  it.each([...OPS])('%s: samples fit, costs are counts, attributes are declared', (name, op) => {
    expect(op.samples.length).toBeGreaterThanOrEqual(op.file === undefined ? 3 : 0);
    expect(new Set(op.samples.map((sample) => sample.name)).size).toBe(op.samples.length);
    for (const sample of op.samples) {
      const outputs = op.infer(sample.inputs, sample.attrs);
      expect(Object.keys(sample.attrs).sort()).toEqual([...op.attrs].sort());
      const arrays = fillSample(sample, 3);
      const copies = arrays.map((array) => array.slice());
      const results = op.reference(arrays, sample.attrs, sample.inputs, outputs);
      expect(arrays, 'the reference must not change its inputs').toEqual(copies);
      expect(results.map((array) => array.length)).toEqual(outputs.map((type) => elementCount(type.shape)));
      const flops = op.flops(sample.inputs, outputs, sample.attrs);
      expect(Number.isSafeInteger(flops) && flops >= 0).toBe(true);
      expect(bytesMoved(name, sample.inputs, outputs, sample.attrs)).toBeGreaterThan(0);
      for (const { input, output } of op.mustOverwrite?.(sample.attrs) ?? []) {
        expect(byteCount(at(sample.inputs, input))).toBe(byteCount(at(outputs, output)));
      }
    }
  });

  it.each([...OPS])('%s: refuses a missing input and a wrong dtype', (_, op) => {
    for (const sample of op.samples) {
      if (sample.inputs.length === 0) continue;
      const variadic = op.name === 'concat' || op.name === 'global_norm';
      if (!variadic) expect(() => op.infer(sample.inputs.slice(0, -1), sample.attrs)).toThrow(FulltuneError);
      const wrong = sample.inputs.map((type, index) => (index === 0 ? tensor('u8', ...type.shape) : type));
      expect(() => op.infer(wrong, sample.attrs)).toThrow(FulltuneError);
    }
  });

  it('knows no op that is not there', () => {
    expect(() => opOf('softmax')).toThrow(/no op 'softmax'/);
  });
});

describe('shape errors', () => {
  it('name op, inputs and model path', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 2, 3, 8);
    const error = caught(() => b.scope('layers.3', () => linear(b, x, b.parameter('w', 'f32', 4, 7))));
    expect(error.toText()).toBe("E_SHAPE: matmul_nt: a's last axis must be 7 wide, as b asks; inputs f32[2,3,8], f32[4,7] (layers.3)");
  });

  it('heads must divide', () => {
    const b = new GraphBuilder(shapeRules);
    const [q, k] = [b.input('q', 'f32', 1, 2, 12), b.input('k', 'f32', 1, 2, 8)];
    const documentStart = b.input('documentStart', 'i32', 1, 2);
    expect(() => attention(b, { q, k, v: k, documentStart, heads: 3, keyValueHeads: 2, headWidth: 4 })).toThrow(/3 heads are not a multiple of 2/);
  });
});

describe('flops', () => {
  it('of a product are 2·N·K·M forward and twice that backward', () => {
    const [a, w, y] = [tensor('f32', 2, 5, 7), tensor('f32', 3, 7), tensor('f32', 2, 5, 3)];
    expect(opOf('matmul_nt').flops([a, w], [y], { bias: 0 })).toBe(2 * 10 * 7 * 3);
    expect(opOf('matmul_nn').flops([y, w], [a], { bias: 0 })).toBe(2 * 10 * 7 * 3);
    expect(opOf('matmul_tn').flops([y, a], [w], { accumulate: 0 })).toBe(2 * 10 * 7 * 3);
  });

  it('of attention are the causal half: 2 products forward, 5 backward', () => {
    const [q, k] = [tensor('f32', 2, 8, 12), tensor('f32', 2, 8, 4)];
    const product = 2 * 2 * 3 * 4 * ((8 * 9) / 2); // 2 · rows · heads · width · pairs
    expect(opOf('attention').flops([q, k, k], [q], {})).toBe(2 * product);
    expect(opOf('attention_backward').flops([q, k, k], [q, k, k], {})).toBe(5 * product);
  });
});

describe('definitions', () => {
  it('erf agrees with tabulated values', () => {
    const table = { 0: 0, 0.5: 0.5204998778130465, 1: 0.8427007929497149, 2: 0.9953222650189527, 3.5: 0.9999992569016276, 7: 1 };
    for (const [text, y] of Object.entries(table)) {
      const x = Number(text);
      expect(Math.abs(erf(x) - y)).toBeLessThan(2e-15);
      expect(erf(-x)).toBe(-erf(x));
    }
    expect(erf(NaN)).toBeNaN();
  });

  it('attention to one token copies its value; a document sees nothing before its start', () => {
    const b = new GraphBuilder(shapeRules);
    const names = ['q', 'k', 'v'] as const;
    const [q, k, v] = names.map((name) => b.input(name, 'f32', 1, 3, 2)) as [number, number, number];
    b.output('o', attention(b, { q, k, v, documentStart: b.input('documentStart', 'i32', 1, 3), heads: 1, keyValueHeads: 1, headWidth: 2 }));
    const graph = b.finish();
    const fixed = { q: Float64Array.of(1, 2, 3, 4, 5, 6), k: Float64Array.of(9, 1, 2, 7, 1, 1), documentStart: Float64Array.of(0, 1, 1) };
    const run = (value: readonly number[]): Float64Array => interpret(graph, { ...fixed, v: Float64Array.from(value) })['o'] ?? new Float64Array();
    const o = run([10, 20, 30, 40, 50, 60]);
    expect([...o.subarray(0, 4)]).toEqual([10, 20, 30, 40]);
    expect(run([-1, -2, 30, 40, 50, 60]).subarray(2)).toEqual(o.subarray(2));
  });

  it('attention over a cache, filled in two goes, is attention over the whole row', () => {
    const [length, first, capacity] = [7, 4, 9];
    const random = new RandomStream(1, 0);
    const draw = (count: number): Float64Array => Float64Array.from({ length: count }, () => random.normal());
    const [q, k, v] = [draw(length * 8), draw(length * 4), draw(length * 4)];
    const heads = { heads: 4, keyValueHeads: 2, headWidth: 2 };

    const whole = new GraphBuilder(shapeRules);
    const whole3 = (name: string, width: number): ValueId => whole.input(name, 'f32', 1, length, width);
    const documentStart = whole.input('documentStart', 'i32', 1, length);
    whole.output('o', attention(whole, { q: whole3('q', 8), k: whole3('k', 4), v: whole3('v', 4), documentStart, ...heads }));
    const wanted = interpret(whole.finish(), { q, k, v, documentStart: new Float64Array(length) })['o'];

    let caches = { kCache: draw(capacity * 4), vCache: draw(capacity * 4) };
    const got: number[] = [];
    for (const [from, to] of [[0, first], [first, length]] as const) {
      const b = new GraphBuilder(shapeRules);
      const some = (name: string, width: number): ValueId => b.input(name, 'f32', 1, to - from, width);
      const cacheLength = b.input('cacheLength', 'i32', 1);
      const cached = (name: string): ValueId => b.persistent(name, 'activation', tensor('f32', 1, capacity, 4));
      const kCache = cacheWrite(b, cached('kCache'), some('k', 4), cacheLength);
      const vCache = cacheWrite(b, cached('vCache'), some('v', 4), cacheLength);
      b.output('o', attentionCached(b, { q: some('q', 8), kCache, vCache, cacheLength, ...heads }));
      b.output('kCache', kCache);
      b.output('vCache', vCache);
      const inputs = { q: q.subarray(from * 8, to * 8), k: k.subarray(from * 4, to * 4), v: v.subarray(from * 4, to * 4) };
      const outputs = interpret(b.finish(), { ...inputs, ...caches, cacheLength: Float64Array.of(from) });
      caches = { kCache: outputs['kCache'] ?? draw(0), vCache: outputs['vCache'] ?? draw(0) };
      got.push(...(outputs['o'] ?? []));
    }
    expect(got).toEqual([...(wanted ?? [])]);
  });

  it('query heads read key/value heads in groups of neighbours', () => {
    const b = new GraphBuilder(shapeRules);
    const [q, kv] = [b.input('q', 'f32', 1, 1, 6), b.input('kv', 'f32', 1, 1, 2)];
    b.output('o', attention(b, { q, k: kv, v: kv, documentStart: b.input('documentStart', 'i32', 1, 1), heads: 6, keyValueHeads: 2, headWidth: 1 }));
    const { o } = interpret(b.finish(), { q: new Float64Array(6), kv: Float64Array.of(7, 8), documentStart: Float64Array.of(0) });
    expect([...(o ?? [])]).toEqual([7, 7, 7, 8, 8, 8]);
  });

  it('cross-entropy of equal logits is log V, weighted, over labelled tokens only', () => {
    const b = new GraphBuilder(shapeRules);
    const labels = b.input('labels', 'i32', 2, 2);
    b.output('loss', crossEntropy(b, { logits: b.input('logits', 'f32', 2, 2, 5), labels, lossWeight: b.input('lossWeight', 'f32', 1) }));
    const { loss } = interpret(b.finish(), { logits: new Float64Array(20), labels: Float64Array.of(1, -100, 0, 4), lossWeight: Float64Array.of(0.5) });
    expect(loss?.[0]).toBeCloseTo(0.5 * Math.log(5), 12);
    expect(loss?.[1]).toBeCloseTo(Math.log(5), 12);
  });

  it('AdamW moves by the learning rate in its first step, and decays apart from that', () => {
    const b = new GraphBuilder(shapeRules);
    const state = (name: string) => b.persistent(name, 'optimizer-state', tensor('f32', 2));
    const one = (name: string) => b.input(name, 'f32', 1);
    const result = adamwUpdate(b, {
      parameter: b.parameter('p', 'f32', 2), gradient: b.input('g', 'f32', 2), firstMoment: state('m'), secondMoment: state('v'),
      learningRate: one('learningRate'), step: b.input('step', 'i32', 1), gradientScale: one('gradientScale'),
      beta1: 0.9, beta2: 0.999, epsilon: 0, weightDecay: 0.1,
    });
    b.output('p', result.parameter);
    const arrays = { p: Float64Array.of(1, -2), g: Float64Array.of(3, -0.01), m: new Float64Array(2), v: new Float64Array(2) };
    const { p } = interpret(b.finish(), { ...arrays, learningRate: Float64Array.of(0.01), step: Float64Array.of(1), gradientScale: Float64Array.of(0.5) });
    expect(p?.[0]).toBeCloseTo(1 * (1 - 0.001) - 0.01, 12);
    expect(p?.[1]).toBeCloseTo(-2 * (1 - 0.001) + 0.01, 12);
    expect(b.type(result.parameter)).toMatchObject({ storage: 'parameter', persistent: true });
    expect(b.type(result.secondMoment)).toMatchObject({ storage: 'optimizer-state', persistent: true });
  });

  it('SGD adds the decay to the gradient and that to the momentum, undamped', () => {
    const b = new GraphBuilder(shapeRules);
    const [learningRate, gradientScale] = [b.input('lr', 'f32', 1), b.input('scale', 'f32', 1)];
    const momentumBuffer = b.persistent('m', 'optimizer-state', tensor('f32', 1));
    const fixed = { gradient: b.input('g', 'f32', 1), learningRate, step: b.input('step', 'i32', 1), gradientScale, momentum: 0.5, weightDecay: 0.1 };
    const result = sgdUpdate(b, { parameter: b.parameter('p', 'f32', 1), momentumBuffer, ...fixed });
    b.output('p', result.parameter);
    const one = (x: number): Float64Array => Float64Array.of(x);
    const { p } = interpret(b.finish(), { p: one(10), g: one(4), m: one(8), lr: one(0.01), step: one(1), scale: one(0.25) });
    expect(p?.[0]).toBeCloseTo(10 - 0.01 * (0.5 * 8 + (4 * 0.25 + 0.1 * 10)), 12);
  });

  it('clipping is that of torch.nn.utils.clip_grad_norm_: 1e-6 in the denominator, never above 1, not a number when the norm is none', () => {
    const clip = (sums: readonly number[], maxNorm: number): readonly (number | undefined)[] => {
      const b = new GraphBuilder(shapeRules);
      const { norm, factor } = globalNorm(b, sums.map((_, i) => b.input(`s${i}`, 'f32', 1)), { maxNorm });
      b.output('norm', norm);
      b.output('factor', factor);
      const outputs = interpret(b.finish(), Object.fromEntries(sums.map((sum, i) => [`s${i}`, Float64Array.of(sum)])));
      return [outputs['norm']?.[0], outputs['factor']?.[0]];
    };
    expect(clip([9, 16], 1)).toEqual([5, 1 / 5.000001]);
    expect(clip([0.09, 0.16], 1)).toEqual([0.5, 1]);
    expect(clip([9, 16], 0)).toEqual([5, 1]);
    expect(clip([9, NaN], 1)).toEqual([NaN, NaN]);
  });

  it('SGD without momentum keeps no buffer', () => {
    const b = new GraphBuilder(shapeRules);
    const [parameter, gradient] = [b.parameter('p', 'f32', 2), b.input('g', 'f32', 2)];
    const scalars = { learningRate: b.input('lr', 'f32', 1), step: b.input('step', 'i32', 1), gradientScale: b.input('s', 'f32', 1), momentum: 0, weightDecay: 0 };
    const options = { parameter, gradient, ...scalars };
    expect(sgdUpdate(b, options).momentumBuffer).toBeUndefined();
    expect(() => sgdUpdate(b, { ...options, momentum: 0.9 })).toThrow(FulltuneError);
  });
});

describe('names and storage of gradients', () => {
  function backward(op: 'linear' | 'embedding', accumulator?: string): GraphBuilder {
    const b = new GraphBuilder(shapeRules);
    const w = b.parameter('w', 'f32', 6, 4);
    const y = op === 'linear' ? linear(b, b.input('x', 'f32', 1, 3, 4), w) : embedding(b, b.input('ids', 'i32', 1, 3), w);
    const node = at(b.nodesSoFar, 0);
    b.phase = 'backward';
    opOf(node.op).vjp?.({
      builder: b,
      node,
      gradient: () => b.input('dy', 'f32', ...b.type(y).shape),
      needs: (index) => index === 1,
      accumulator: () => (accumulator === undefined ? undefined : b.persistent(accumulator, 'gradient', tensor('f32', 6, 4))),
      merge: () => undefined,
      alsoYields: () => undefined,
    });
    return b;
  }

  it.each(['linear', 'embedding'] as const)('%s: named after the parameter, or continued in place', (op) => {
    const fresh = backward(op);
    expect(fresh.type(at(at(fresh.nodesSoFar, 1).outputs, 0))).toMatchObject({ name: 'gradient:w', storage: 'gradient', persistent: false });
    const continued = backward(op, 'gradient:w');
    const node = at(continued.nodesSoFar, 1);
    expect(node.overwrites).toEqual([{ output: 0, input: 2 }]);
    expect(continued.type(at(node.outputs, 0))).toMatchObject({ storage: 'gradient', persistent: true });
    expect(fresh.nodesSoFar).toHaveLength(2);
  });
});

describe('names and storage of the gradients of a chunked loss', () => {
  function backward(needs: readonly number[], accumulator?: string): { readonly node: Node; readonly b: GraphBuilder; readonly yielded: readonly ValueId[] } {
    const b = new GraphBuilder(shapeRules);
    const inputs = { hidden: b.input('x', 'bf16', 1, 3, 4), weight: b.parameter('w', 'f32', 6, 4), labels: b.input('labels', 'i32', 1, 3), lossWeight: b.input('lossWeight', 'f32', 1) };
    linearCrossEntropy(b, inputs, { blocks: 2 });
    const yielded: ValueId[] = [];
    b.phase = 'backward';
    opOf('linear_cross_entropy').vjp?.({
      builder: b,
      node: at(b.nodesSoFar, 0),
      gradient: () => b.input('dy', 'f32', 1),
      needs: (index) => needs.includes(index),
      accumulator: () => (accumulator === undefined ? undefined : b.persistent(accumulator, 'gradient', tensor('f32', 6, 4))),
      merge: () => undefined,
      alsoYields: (index, value) => yielded.push(index, value),
    });
    return { node: at(b.nodesSoFar, b.nodesSoFar.length - 1), b, yielded };
  }

  it('dhidden is workspace, dweight the gradient of its parameter, and the loss is given once more', () => {
    const { node, b, yielded } = backward([0, 1]);
    const [rowLoss, dhidden, dweight] = node.outputs;
    expect(yielded).toEqual([0, rowLoss]);
    expect(b.type(dhidden!)).toMatchObject({ dtype: 'bf16', storage: 'workspace' });
    expect(b.type(dweight!)).toMatchObject({ name: 'gradient:w', dtype: 'f32', storage: 'gradient', persistent: false });
    expect(b.type(rowLoss!).storage).toBe('workspace');
  });

  it('a running gradient is continued in its bytes, and what nobody needs is absent', () => {
    const { node, b } = backward([1], 'gradient:w');
    expect(node).toMatchObject({ attrs: { blocks: 2, mode: 1, needHidden: 0, needWeight: 1 }, overwrites: [{ output: 1, input: 5 }] });
    expect(node.outputs.map((id) => b.type(id).storage)).toEqual(['workspace', 'gradient']);
    expect(backward([0], 'gradient:w').node).toMatchObject({ attrs: { blocks: 2, mode: 0, needHidden: 1, needWeight: 0 }, overwrites: [] });
    expect(backward([]).node.op).toBe('linear_cross_entropy');
  });
});

describe('gradients of slices', () => {
  function sliceGradient(builder: GraphBuilder, node: Node, dy: ValueId): ValueId {
    const context = { builder, node, gradient: () => dy, needs: () => true, accumulator: () => undefined, merge: () => undefined, alsoYields: () => undefined };
    const [dx] = opOf(node.op).vjp?.(context) ?? [];
    if (dx === undefined) throw new Error('no gradient');
    return dx;
  }

  it('of one tensor are laid side by side, not padded and added', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 1, 2, 6);
    const parts = [0, 1, 2].map((i) => slice(b, x, { offset: 2 * i, width: 2 }));
    const gradients = parts.map((id, i) => b.input(`d${i}`, 'f32', ...b.type(id).shape));
    const padded = [...parts.keys()].toReversed().map((i) => {
      const node = at(b.nodesSoFar, i);
      return sliceGradient(b, node, at(gradients, i));
    });
    const total = padded.slice(1).reduce((sum, dx) => add(b, sum, dx), at(padded, 0));
    const last = at(b.nodesSoFar, b.nodesSoFar.length - 1);
    expect(last).toMatchObject({ op: 'concat', inputs: gradients, outputs: [total] });
    expect(b.nodesSoFar.some((node) => node.op === 'add')).toBe(false);
  });

  it('that overlap or lie in different tensors are added', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 1, 2, 6);
    const overlapping = [0, 1].map((i) => {
      const y = slice(b, x, { offset: i, width: 3 });
      const node = at(b.nodesSoFar, b.nodesSoFar.length - 1);
      const dy = b.input(`d${i}`, 'f32', ...b.type(y).shape);
      return sliceGradient(b, node, dy);
    });
    b.output('dx', add(b, at(overlapping, 0), at(overlapping, 1)));
    const graph = b.finish();
    expect(graph.nodes.at(-1)?.op).toBe('add');
    const { dx } = interpret(graph, { x: new Float64Array(12), d0: Float64Array.of(1, 2, 3, 4, 5, 6), d1: Float64Array.of(10, 20, 30, 40, 50, 60) });
    expect([...(dx ?? [])]).toEqual([1, 12, 23, 30, 0, 0, 4, 45, 56, 60, 0, 0]);
  });

  it('Conv1D is the linear layer with the weight turned round', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 1, 1, 2);
    b.output('conv', conv1d(b, x, b.parameter('w', 'f32', 2, 3), b.parameter('bias', 'f32', 3)));
    const { conv } = interpret(b.finish(), { x: Float64Array.of(1, 10), w: Float64Array.of(1, 2, 3, 4, 5, 6), bias: Float64Array.of(0.5, 0, 0) });
    expect([...(conv ?? [])]).toEqual([41.5, 52, 63]);
  });
});

function caught(body: () => unknown): FulltuneError {
  try {
    body();
  } catch (error) {
    if (error instanceof FulltuneError) return error;
  }
  throw new Error('no FulltuneError was thrown');
}

/**
 * The training step of bench/step.js in jax-js on its wasm backend: a Llama forward and backward, clipping to norm 1, AdamW, all inside jit.
 * `node step.js JSON`: { rows, length, config, threads }; one thread is jax-js as Node runs it, more need the workers of web-worker.js.
 * Speaks the protocol of support/worker.js.
 */

import { answerQuestions, highWaterBytes } from '../../support/answers.js';
import { provideIteratorHelpers } from './iterator-helpers.js';
import { provideWorkers } from './web-worker.js';

const { rows, length, config, threads } = JSON.parse(process.argv[2]);
provideIteratorHelpers();
if (threads > 1) provideWorkers(threads);
const { blockUntilReady, defaultDevice, init, jit, nn, numpy: np, tree, valueAndGrad, vjp } = await import('@jax-js/jax');
await init('wasm');
defaultDevice('wasm');

const { hidden_size: width, intermediate_size: inner, num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: keyValueHeads, vocab_size: vocabulary, rms_norm_eps: epsilon } = config;
const headWidth = width / heads;
const tokens = rows * length;

const noise = (...shape) => np.array(Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) => Math.sin(i * 12.9898) * 0.03)).reshape(shape);
let parameters = {
  embedding: noise(vocabulary, width),
  norm: np.ones([width]),
  layers: Array.from({ length: layers }, () => ({
    inputNorm: np.ones([width]), q: noise(width, width), k: noise(width, headWidth * keyValueHeads), v: noise(width, headWidth * keyValueHeads), o: noise(width, width),
    innerNorm: np.ones([width]), gate: noise(width, inner), up: noise(width, inner), down: noise(inner, width),
  })),
};
let first = tree.map((/** @type {any} */ p) => np.zeros(p.shape), parameters);
let second = tree.map((/** @type {any} */ p) => np.zeros(p.shape), parameters);

const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % vocabulary);
const input = np.array(ids, { dtype: np.int32 });
const labels = np.array(Int32Array.from(ids, (id) => (id * 31) % vocabulary), { dtype: np.int32 });
const angles = (/** @type {(x: number) => number} */ wave) => np.array(Float32Array.from({ length: (length * headWidth) / 2 }, (_, i) => {
  const [position, j] = [Math.floor(i / (headWidth / 2)), i % (headWidth / 2)];
  return wave(position * 10000 ** ((-2 * j) / headWidth));
})).reshape([1, length, 1, headWidth / 2]);
const [cosines, sines] = [angles(Math.cos), angles(Math.sin)];

const rmsNorm = (x, weight) => {
  const scale = np.sqrt(np.square(x.ref).mean(-1, { keepdims: true }).add(epsilon));
  return x.div(scale).mul(weight);
};

const rotate = (x, cos, sin) => {
  const [a, b] = np.split(x, 2, -1);
  return np.concatenate([a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref)), b.mul(cos).add(a.mul(sin))], -1);
};

/** Without the lookup of `x`: its gradient is a scatter, which jit refuses. Neither may the loss pick by index, so it multiplies by one-hot labels, fused. */
const lossOf = (p, x, labels, cos, sin) => {
  for (const layer of p.layers) {
    const h = rmsNorm(x.ref, layer.inputNorm);
    const split = (y, count) => y.reshape([rows, length, count, headWidth]);
    const q = rotate(split(np.matmul(h.ref, layer.q), heads), cos.ref, sin.ref);
    const k = rotate(split(np.matmul(h.ref, layer.k), keyValueHeads), cos.ref, sin.ref);
    const v = split(np.matmul(h, layer.v), keyValueHeads);
    const attended = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([tokens, width]);
    x = x.add(np.matmul(attended, layer.o));
    const g = rmsNorm(x.ref, layer.innerNorm);
    x = x.add(np.matmul(nn.silu(np.matmul(g.ref, layer.gate)).mul(np.matmul(g, layer.up)), layer.down));
  }
  cos.dispose();
  sin.dispose();
  const logits = np.matmul(rmsNorm(x, p.norm), p.embedding.transpose());
  return nn.logSoftmax(logits, -1).mul(nn.oneHot(labels, vocabulary)).sum().div(-tokens);
};

const [beta1, beta2, tiny] = [0.9, 0.999, 1e-8];
const gradients = jit(valueAndGrad(lossOf, { argnums: [0, 1] }));
const update = jit((p, grads, m, v, rate, correction1, correction2) => {
  const norm = np.sqrt(tree.leaves(grads).map((g) => np.square(g.ref).sum()).reduce((a, b) => a.add(b)));
  const scale = np.minimum(np.array(1).div(norm.add(1e-6)), 1);
  const each = tree.leaves(p).map((w, i) => {
    const g = tree.leaves(grads)[i].mul(scale.ref);
    const m1 = tree.leaves(m)[i].mul(beta1).add(g.ref.mul(1 - beta1));
    const v1 = tree.leaves(v)[i].mul(beta2).add(np.square(g).mul(1 - beta2));
    const change = m1.ref.div(correction1.ref).mul(rate.ref).div(np.sqrt(v1.ref.div(correction2.ref)).add(tiny));
    return [w.sub(change), m1, v1];
  });
  for (const used of [scale, rate, correction1, correction2]) used.dispose();
  return [0, 1, 2].map((part) => tree.unflatten(tree.structure(p), each.map((one) => one[part])));
});

let step = 0;
await answerQuestions({ device: `wasm, ${threads} ${threads === 1 ? 'thread' : 'threads'}`, version: '0.1.25' }, async () => {
  step++;
  const started = performance.now();
  const [x, lookupGradient] = vjp((/** @type {any} */ embedding) => np.take(embedding, input.ref, 0), [parameters.embedding.ref]);
  const [loss, [grads, dx]] = gradients(tree.ref(parameters), x, labels.ref, cosines.ref, sines.ref);
  const [dEmbedding] = lookupGradient(dx);
  lookupGradient.dispose();
  grads.embedding = grads.embedding.add(dEmbedding);
  [parameters, first, second] = update(parameters, grads, first, second, np.array(1e-5), np.array(1 - beta1 ** step), np.array(1 - beta2 ** step));
  await blockUntilReady([parameters, first, second]);
  const value = (await loss.data())[0];
  return { ms: performance.now() - started, loss: value, peakBytes: highWaterBytes() };
});

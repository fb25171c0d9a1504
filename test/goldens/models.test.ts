/**
 * Models against PyTorch and transformers (tools/goldens/models_goldens.py): the graph, its backward and its update, run by the definitions of
 * the ops in f64. What differs is that transformers rounds inverse frequencies to f32 at each step of their computation.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { describe, expect, it } from 'vitest';

import { appendBackward } from '../../src/compile/backward.ts';
import { appendUpdate } from '../../src/compile/update.ts';
import { interpret, interpretAll, type NamedArrays } from '../../src/devices/reference/interpret.ts';
import { readSafetensorsHeader } from '../../src/files/safetensors.ts';
import { GraphBuilder } from '../../src/graph/builder.ts';
import { decodeElements, type DType } from '../../src/graph/dtype.ts';
import type { Graph, ValueId } from '../../src/graph/graph.ts';
import { elementCount } from '../../src/graph/shape.ts';
import { buildCached, buildForward } from '../../src/models/index.ts';
import { matchWeights } from '../../src/models/match-weights.ts';
import { parseModelConfig, type ModelConfig } from '../../src/models/model-config.ts';
import { parameterList } from '../../src/models/parameters.ts';
import { shapeRules } from '../../src/ops/index.ts';
import { adamw } from '../../src/optimizers/adamw.ts';
import { plainPlan } from '../../src/run/training-plan.ts';

interface Golden {
  readonly ids: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  readonly loss: number;
  readonly adamw: { readonly learningRate: number; readonly beta1: number; readonly beta2: number; readonly epsilon: number; readonly weightDecay: number; readonly maxGradNorm: number };
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly greedy: readonly number[];
}

const PROMPT_TOKENS = 6;
const DTYPES: Readonly<Record<string, DType>> = { F32: 'f32', BF16: 'bf16' };

describe.each(['llama3', 'llama-linear', 'qwen2', 'qwen3', 'mistral', 'gpt2', 'gpt2-exact'])('%s', (name) => {
  const folder = fileURLToPath(new URL(`models/${name}/`, import.meta.url));
  const golden = JSON.parse(readFileSync(`${folder}golden.json`, 'utf8')) as Golden;
  const expected = readTensors(`${folder}golden.safetensors`);
  const config = parseModelConfig(JSON.parse(readFileSync(`${folder}config.json`, 'utf8')), `${name}/config.json`);
  const weights = readWeights(config, `${folder}model.safetensors`);
  const rows = golden.ids.length;
  const length = golden.ids[0]?.length ?? 0;
  const batch = batchInputs(golden.ids, golden.labels);

  it('gives the loss, the logits and the gradient of every parameter', () => {
    const builder = new GraphBuilder(shapeRules);
    const { logits } = buildForward(builder, config, { rows, length });
    builder.output('logits', logits);
    const parameters = parameterIds(builder, config);
    for (const { parameter, uses } of appendBackward(builder, { trained: [...parameters.values()], mode: 'whole', scalesLoss: false })) {
      expect(uses).toHaveLength(1);
      builder.output(`gradient:${builder.type(parameter).name}`, uses[0]!);
    }
    const found = interpret(builder.finish(), { ...weights, ...batch });
    expect(Math.abs(sum(found['loss']!) / golden.loss - 1)).toBeLessThan(1e-7);
    expect(Object.keys(found).filter((key) => key !== 'loss').sort()).toEqual([...expected.keys()].sort());
    for (const [key, array] of expected) {
      expect(relativeError(found[key]!, array), key).toBeLessThan(1e-6);
    }
  });

  it('trains to the same losses', () => {
    const { graph, after } = trainingStep(config, golden, rows, length);
    let state: NamedArrays = { ...weights };
    const losses: number[] = [];
    for (const [index, norm] of golden.norms.entries()) {
      const found = interpretAll(graph, {
        ...zeroState(graph), ...batch, ...state,
        learningRate: Float64Array.of(golden.adamw.learningRate), step: Float64Array.of(index + 1),
      });
      losses.push(sum(found.get(graph.outputs['loss']!)!));
      expect(Math.abs(found.get(graph.outputs['gradientNorm']!)![0]! / norm - 1)).toBeLessThan(1e-5);
      state = Object.fromEntries([...after].map(([name, id]) => [name, found.get(id)!]));
    }
    losses.push(sum(interpret(forwardOnly(config, rows, length), { ...batch, ...state })['loss']!));
    expect(losses).toHaveLength(golden.losses.length);
    losses.forEach((loss, index) => expect(Math.abs(loss / golden.losses[index]! - 1), `loss ${index}`).toBeLessThan(1e-6));
  });

  it('continues a prompt over the key/value cache, in chunks and token by token', () => {
    const capacity = 20;
    const prefill = new CachedModel(config, weights, { length: 4, capacity });
    const decode = new CachedModel(config, weights, { length: 1, capacity });
    let caches = prefill.emptyCaches();
    let logits = new Float64Array();
    const run = (model: CachedModel, ids: readonly number[], cacheLength: number): void => {
      ({ logits, caches } = model.run(ids, cacheLength, caches));
    };
    const prompt = golden.ids[0]!.slice(0, PROMPT_TOKENS);
    run(prefill, prompt.slice(0, 4), 0);
    run(prefill, prompt.slice(4), 4);
    const tokens: number[] = [];
    while (tokens.length < golden.greedy.length) {
      const token = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
      tokens.push(token);
      run(decode, [token], PROMPT_TOKENS + tokens.length - 1);
    }
    expect(tokens).toEqual(golden.greedy);
  });

  it('keeps packed documents apart', () => {
    // One row of two documents against the two documents alone, each as the start of a row of its own.
    const [first, second] = [golden.ids[0]!.slice(0, 9), golden.ids[1]!.slice(0, length - 9)];
    const labels = [golden.labels[0]!.slice(0, 9), golden.labels[1]!.slice(0, length - 9)];
    const packed = batchInputs([[...first, ...second]], [labels.flat()]);
    packed['positions'] = Float64Array.from([...first.keys(), ...second.keys()]);
    packed['documentStart'] = Float64Array.from({ length }, (_, t) => (t < 9 ? 0 : 9));
    const filled = (values: readonly number[], filling: number): number[] => [...values, ...Array.from({ length: length - values.length }, () => filling)];
    const alone = batchInputs([filled(first, 0), filled(second, 0)], [filled(labels[0]!, -100), filled(labels[1]!, -100)]);
    const together = sum(interpret(forwardOnly(config, 1, length), { ...weights, ...packed })['loss']!);
    const apart = sum(interpret(forwardOnly(config, 2, length), { ...weights, ...alone })['loss']!);
    expect(Math.abs(together / apart - 1)).toBeLessThan(1e-12);
  });
});

/** A compiled-in-place generator: one chunk length over given caches. */
class CachedModel {
  private readonly graph: Graph;
  private readonly weights: NamedArrays;
  private readonly length: number;

  constructor(config: ModelConfig, weights: NamedArrays, shape: { readonly length: number; readonly capacity: number }) {
    const builder = new GraphBuilder(shapeRules);
    buildCached(builder, config, shape);
    this.graph = builder.finish();
    this.weights = weights;
    this.length = shape.length;
  }

  emptyCaches(): NamedArrays {
    return Object.fromEntries(this.graph.inputs.map((id) => this.graph.values[id]!).filter(({ name }) => name.startsWith('cache.'))
      .map((value) => [value.name, new Float64Array(elementCount(value.shape)).fill(NaN)]));
  }

  run(ids: readonly number[], cacheLength: number, caches: NamedArrays): { logits: Float64Array<ArrayBuffer>; caches: NamedArrays } {
    const found = interpretAll(this.graph, {
      ...this.weights, ...caches,
      ids: Float64Array.from({ length: this.length }, (_, t) => ids[t] ?? 0),
      positions: Float64Array.from({ length: this.length }, (_, t) => cacheLength + t),
      cacheLength: Float64Array.of(cacheLength),
      lastIndex: Float64Array.of(ids.length - 1),
    });
    const after = lastVersions(this.graph);
    return {
      logits: Float64Array.from(found.get(this.graph.outputs['logits']!)!),
      caches: Object.fromEntries(Object.keys(caches).map((name) => [name, found.get(after.get(name)!)!])),
    };
  }
}

function trainingStep(config: ModelConfig, golden: Golden, rows: number, length: number): { graph: Graph; after: ReadonlyMap<string, ValueId> } {
  const builder = new GraphBuilder(shapeRules);
  buildForward(builder, config, { rows, length });
  const gradients = appendBackward(builder, { trained: [...parameterIds(builder, config).values()], mode: 'whole', scalesLoss: false });
  appendUpdate(builder, gradients.map(({ parameter, uses }) => ({ parameter, gradient: uses[0]! })), {
    rule: adamw({ kind: 'adamw', ...golden.adamw }), plan: plainPlan({ rowLength: length, maxGradNorm: golden.adamw.maxGradNorm }), isEmbedding: () => false,
  });
  const graph = builder.finish();
  const persistent = new Set(graph.inputs.filter((id) => ['parameter', 'optimizer-state'].includes(graph.values[id]!.storage)).map((id) => graph.values[id]!.name));
  return { graph, after: new Map([...lastVersions(graph)].filter(([name]) => persistent.has(name))) };
}

function forwardOnly(config: ModelConfig, rows: number, length: number): Graph {
  const builder = new GraphBuilder(shapeRules);
  buildForward(builder, config, { rows, length });
  return builder.finish();
}

/** Name of each graph input → the value that ends up in its bytes. */
function lastVersions(graph: Graph): ReadonlyMap<string, ValueId> {
  const follows = new Map<ValueId, ValueId>();
  for (const node of graph.nodes) for (const { output, input } of node.overwrites) follows.set(node.inputs[input]!, node.outputs[output]!);
  return new Map(graph.inputs.map((id) => {
    let last = id;
    for (let next = follows.get(last); next !== undefined; next = follows.get(last)) last = next;
    return [graph.values[id]!.name, last];
  }));
}

function zeroState(graph: Graph): NamedArrays {
  return Object.fromEntries(graph.inputs.map((id) => graph.values[id]!).filter((value) => value.storage === 'optimizer-state')
    .map((value) => [value.name, new Float64Array(elementCount(value.shape))]));
}

function parameterIds(builder: GraphBuilder, config: ModelConfig): ReadonlyMap<string, ValueId> {
  return new Map(parameterList(config).map(({ name }) => [name, builder.find(name)!]));
}

function batchInputs(ids: readonly (readonly number[])[], labels: readonly (readonly number[])[]): Record<string, Float64Array> {
  const length = ids[0]?.length ?? 0;
  return {
    ids: Float64Array.from(ids.flat()),
    labels: Float64Array.from(labels.flat()),
    positions: Float64Array.from(ids.flatMap(() => [...Array(length).keys()])),
    documentStart: new Float64Array(ids.length * length),
    lossWeight: Float64Array.of(1 / labels.flat().filter((label) => label >= 0).length),
  };
}

function readTensors(path: string): ReadonlyMap<string, Float64Array> {
  const bytes = readFileSync(path);
  return new Map(readSafetensorsHeader(path).tensors.map(({ name, dtype, fileOffset, bytes: size }) =>
    [name, decodeElements(DTYPES[dtype]!, Uint8Array.from(bytes.subarray(fileOffset, fileOffset + size)))]));
}

function readWeights(config: ModelConfig, path: string): NamedArrays {
  const names = matchWeights(config, new Map(readSafetensorsHeader(path).tensors.map((tensor) => [tensor.name, tensor])), path);
  const tensors = readTensors(path);
  return Object.fromEntries([...names].map(([parameter, stored]) => [parameter, tensors.get(stored)!]));
}

function sum(values: Float64Array): number {
  return values.reduce((a, b) => a + b, 0);
}

/** ‖found − expected‖ / ‖expected‖ */
function relativeError(found: Float64Array, expected: Float64Array): number {
  if (found.length !== expected.length) return Infinity;
  return Math.hypot(...found.map((value, index) => value - expected[index]!)) / Math.hypot(...expected);
}

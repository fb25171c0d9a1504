/** Graphs, and gradients on the reference device, whose values are rounded to the types that the graph says. */

import { beforeAll, describe, expect, it } from 'vitest';
import { RandomStream } from '../base/random.ts';
import { compile, type CompiledRun } from '../compile/compile.ts';
import { createReferenceDevice } from '../devices/reference/reference-device.ts';
import type { Instruction, Program } from '../devices/program.ts';
import { decodeElements, encodeElements } from '../graph/dtype.ts';
import { elementCount } from '../graph/shape.ts';
import { initialValues } from '../models/init.ts';
import { parseModelConfig, type ModelConfig } from '../models/model-config.ts';
import { parameterList } from '../models/parameters.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { plainPlan, type PrecisionChoice, type TrainingPlan } from '../run/training-plan.ts';
import { runUpdate } from '../train/run-update.ts';
import { TrainingState } from '../train/training-state.ts';
import type { UpdateBatch } from '../data/batches.ts';
import { precision } from './precision.ts';

const ROWS = 2;
const LENGTH = 12;
const VOCABULARY = 40;

const MODELS: Readonly<Record<string, ModelConfig>> = {
  llama: parseModelConfig({
    architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
    num_key_value_heads: 2, vocab_size: VOCABULARY, tie_word_embeddings: true, max_position_embeddings: 64, rms_norm_eps: 1e-5, hidden_act: 'silu', initializer_range: 0.3,
  }, 'test'),
  gpt2: parseModelConfig({
    architectures: ['GPT2LMHeadModel'], model_type: 'gpt2', n_embd: 16, n_layer: 2, n_head: 4, n_positions: 64, vocab_size: VOCABULARY, layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new', initializer_range: 0.3,
  }, 'test'),
};

const F32: PrecisionChoice = { activations: 'f32', weights: 'f32' };
const CHOICES: readonly PrecisionChoice[] = (['f32', 'bf16', 'f16'] as const).flatMap((activations) =>
  (['f32', 'bf16'] as const).map((weights): PrecisionChoice => ({ activations, weights })));
const LOW = CHOICES.filter(({ activations, weights }) => activations !== 'f32' || weights !== 'f32');
const named = (choices: readonly PrecisionChoice[]): readonly (readonly [string, PrecisionChoice])[] =>
  choices.map((choice) => [`${choice.activations} activations, ${choice.weights} weights`, choice]);

function planOf(choice: PrecisionChoice, microBatchSize = ROWS): TrainingPlan {
  return {
    ...plainPlan({ rowLength: LENGTH, maxGradNorm: 0 }), precision: choice,
    batch: { rowsPerUpdate: ROWS, microBatchSize, accumulationSteps: ROWS / microBatchSize }, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 },
  };
}

/** Random tokens, two documents in the first row, some labels left out; the whole update in micro-batches of `size` rows. */
function update(size: number): UpdateBatch {
  const random = new RandomStream(5, 0);
  const ids = Int32Array.from({ length: ROWS * LENGTH }, () => random.below(VOCABULARY));
  const labels = Int32Array.from({ length: ROWS * LENGTH }, (_, i) => (i % 5 === 4 ? -100 : random.below(VOCABULARY)));
  const start = Int32Array.from({ length: ROWS * LENGTH }, (_, i) => (i < LENGTH && i >= 7 ? 7 : 0));
  const positions = Int32Array.from(start, (first, i) => (i % LENGTH) - first);
  const microBatches = Array.from({ length: ROWS / size }, (_, index) => {
    const part = (all: Int32Array): Int32Array => all.slice(index * size * LENGTH, (index + 1) * size * LENGTH);
    return {
      rowLength: LENGTH, ids: part(ids), labels: part(labels), positions: part(positions), documentStart: part(start),
      trainedTokens: part(labels).filter((label) => label >= 0).length,
    };
  });
  const trainedTokens = microBatches.reduce((sum, batch) => sum + batch.trainedTokens, 0);
  return { epoch: 0, endsEpoch: false, rows: ROWS, tokens: ROWS * LENGTH, trainedTokens, microBatches };
}

interface Measured {
  readonly loss: number;
  readonly norm: number;
  /** By parameter name: how far an SGD step at rate 1 moved it. */
  readonly gradients: ReadonlyMap<string, Float64Array>;
}

/** Where parameters are bf16 the moved parameter is rounded, so those gradients are read off coarsely. */
async function measure(model: ModelConfig, choice: PrecisionChoice, { microBatchSize = ROWS, lossScale = 1024 } = {}): Promise<Measured> {
  const device = createReferenceDevice();
  const run = compile({ model, plan: planOf(choice, microBatchSize), device, purpose: 'train' });
  const state = await TrainingState.create(device, run.memory, run.constants);
  const read = (name: string): Float64Array => decodeElements('f32', new Uint8Array(Buffer.concat([...state.pieces(name, 'f32')])));
  parameterList(model).forEach((parameter, index) => {
    // Biases and norm weights too start at random, so that their gradients are of all sizes.
    const values = initialValues({ ...parameter, init: { kind: 'normal', standardDeviation: 0.3 } }, 7, index)(elementCount(parameter.shape), 0);
    state.writer(parameter.name, 'f32')(encodeElements('f32', values), 0);
  });
  const before = new Map(parameterList(model).map(({ name }) => [name, read(name)]));
  const result = await runUpdate(state, run, update(microBatchSize), { learningRate: 1, step: 1, lossScale }, new AbortController().signal);
  if (result.kind !== 'done') throw new Error(result.kind);
  const gradients = new Map([...before].map(([name, old]) => [name, read(name).map((value, i) => old[i]! - value)]));
  return { loss: result.loss, norm: result.gradientNorm, gradients };
}

function relativeError(actual: Float64Array, expected: Float64Array): number {
  const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return norm(actual.map((x, i) => x - expected[i]!)) / norm(expected);
}

function instructionsOf({ steps }: CompiledRun): readonly Instruction[] {
  if (steps.kind !== 'fused') throw new Error('expected a fused step');
  return [...steps.step.compute.instructions, ...steps.step.commit.instructions];
}

const settingsOf = (config: Partial<RunConfig>) => ({ settings: resolveSettings({ model: 'm', dataset: 'd.jsonl', ...config }), maxLength: 64, bucketLengths: [], rowsPerEpoch: 9 });

describe('precision', () => {
  it.each<[Partial<RunConfig>, PrecisionChoice]>([
    [{}, F32],
    [{ bf16: false, fp16: false, bf16_weights: false }, F32],
    [{ bf16: true }, { activations: 'bf16', weights: 'f32' }],
    [{ fp16: true, bf16: false }, { activations: 'f16', weights: 'f32' }],
    [{ bf16_weights: true }, { activations: 'f32', weights: 'bf16' }],
    [{ fp16: true, bf16_weights: true }, { activations: 'f16', weights: 'bf16' }],
  ])('%j is one value', (config, value) => {
    expect(precision.values(settingsOf(config))).toEqual([value]);
  });

  it('is another computation unless everything is f32, and says what it saves and costs', () => {
    for (const choice of CHOICES) {
      const plain = choice.activations === 'f32' && choice.weights === 'f32';
      expect(precision.numerics(choice, planOf(choice))).toBe(plain ? 'bitwise' : 'changed');
      const { saves, costs } = precision.explain(choice);
      expect([saves, costs].every((text) => (text === 'nothing') === plain)).toBe(true);
    }
    expect(new Set(CHOICES.map((choice) => precision.explain(choice).value)).size).toBe(CHOICES.length);
  });
});

describe.each(Object.entries(MODELS))('%s', (name, model) => {
  const compiled = (choice: PrecisionChoice): CompiledRun => compile({ model, plan: planOf(choice), device: createReferenceDevice(), purpose: 'train' });
  let exact: Measured;
  beforeAll(async () => {
    exact = await measure(model, F32);
  });

  it.each(named(LOW))('%s: the graph has these types and f32 where it must', (_, { activations, weights }) => {
    const run = compiled({ activations, weights });
    const instructions = instructionsOf(run);
    for (const { value } of run.memory.persistent.values()) {
      const wanted = value.storage === 'parameter' && value.shape.length >= 2 ? weights : 'f32';
      expect(value.dtype, value.name).toBe(wanted);
    }
    for (const { op, inputs, outputs, scope } of instructions) {
      const where = `${op} in ${scope}`;
      if (/^(rmsnorm|layernorm|attention|swiglu|gelu|rotary|add|slice)$/.test(op)) expect(outputs[0]!.dtype, where).toBe(activations);
      if (/^(rmsnorm_backward|layernorm_backward|attention_backward|swiglu_backward|gelu_backward)$/.test(op)) expect(outputs[0]!.dtype, where).toBe(activations);
      if (/^(cross_entropy|cross_entropy_backward)$/.test(op)) expect([inputs[0]!.dtype, outputs[0]!.dtype], where).toEqual(['f32', 'f32']);
      if (/^(matmul_tn|column_sum|.*_weight_gradient|embedding_backward|rotary_table)$/.test(op)) expect(outputs[0]!.dtype, where).toBe('f32');
      if (op === 'cast') expect(inputs[0]!.dtype, where).not.toBe(outputs[0]!.dtype);
    }
    const embeddings = name === 'gpt2' ? 2 : 1;
    const casts = instructions.filter(({ op, phase }) => op === 'cast' && phase === 'forward');
    expect(casts).toHaveLength((activations === weights ? 0 : embeddings) + (activations === 'f32' ? 0 : 1));
    const inputsOf = (program: Program): readonly string[] => Object.keys(program.inputs);
    if (run.steps.kind !== 'fused') throw new Error('expected a fused step');
    expect(inputsOf(run.steps.step.compute).includes('lossScale')).toBe(activations === 'f16');
    expect([...run.evaluate.values()].some((program) => program.instructions.some(({ op }) => op === 'cast'))).toBe(casts.length > 0);
    expect([...run.evaluate.values()].flatMap(inputsOf)).not.toContain('lossScale');
  });

  it.each(named([{ activations: 'bf16', weights: 'f32' }, { activations: 'f16', weights: 'f32' }]))('%s: loss, norm and gradients are near those of f32', async (_, choice) => {
    const bound = choice.activations === 'bf16' ? 0.06 : 0.008;
    const low = await measure(model, choice);
    expect(low.loss).not.toBe(exact.loss);
    expect(Math.abs(low.loss / exact.loss - 1)).toBeLessThan(bound / 10);
    expect(Math.abs(low.norm / exact.norm - 1)).toBeLessThan(bound);
    for (const [parameter, gradient] of exact.gradients) expect(relativeError(low.gradients.get(parameter)!, gradient), parameter).toBeLessThan(bound);
  });

  it('bf16 weights: the loss is near that of f32, and the gradients of what stays f32', async () => {
    const low = await measure(model, { activations: 'f32', weights: 'bf16' });
    expect(Math.abs(low.loss / exact.loss - 1)).toBeLessThan(0.01);
    for (const [parameter, gradient] of exact.gradients) if (/norm|ln_|bias/.test(parameter)) expect(relativeError(low.gradients.get(parameter)!, gradient), parameter).toBeLessThan(0.06);
  });

  it('the loss scale cancels out: powers of two give the same gradients until f16 underflows or overflows', async () => {
    const f16: PrecisionChoice = { activations: 'f16', weights: 'f32' };
    const [one, same, tiny] = await Promise.all([4096, 1024, 2 ** -13].map((lossScale) => measure(model, f16, { lossScale })));
    expect(one!.loss).toBe(same!.loss);
    expect(one!.norm / same!.norm).toBeCloseTo(1, 3);
    const worst = (other: Measured): number => Math.max(...[...one!.gradients].map(([parameter, gradient]) => relativeError(other.gradients.get(parameter)!, gradient)));
    expect(worst(same!)).toBeLessThan(1e-3);
    expect(worst(tiny!)).toBeGreaterThan(0.05);
  });

  it('micro-batches and whole updates agree', async () => {
    const choice: PrecisionChoice = { activations: 'bf16', weights: 'bf16' };
    const [whole, parts] = [await measure(model, choice), await measure(model, choice, { microBatchSize: 1 })];
    expect(parts.loss).toBeCloseTo(whole.loss, 6);
    expect(Math.abs(parts.norm / whole.norm - 1)).toBeLessThan(1e-6);
  });
});

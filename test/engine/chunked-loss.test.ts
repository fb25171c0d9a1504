/** Training with the loss in slices of tokens against training with whole logits: the same bits everywhere, and less memory. */

import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { RandomStream } from '../../src/base/random.ts';
import { compile, type CompiledRun } from '../../src/compile/compile.ts';
import type { MicroBatch, UpdateBatch } from '../../src/data/batches.ts';
import { createCpuDevice } from '../../src/devices/cpu/cpu-device.ts';
import { cpuSpec } from '../../src/devices/cpu/cpu-spec.ts';
import { parseModelConfig } from '../../src/models/model-config.ts';
import { plainPlan, type LossChoice } from '../../src/run/training-plan.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { openModelDirectory, type ModelDirectory } from '../../src/train/model-directory.ts';
import { runUpdate } from '../../src/train/run-update.ts';
import { TrainingState } from '../../src/train/training-state.ts';
import { readWeights } from '../../src/train/weights.ts';

const ROWS = 4;
const STEPS = 2;
const WHOLE: LossChoice = { kind: 'whole' };

interface Shape {
  readonly model: string;
  readonly rowLength: number;
  readonly microBatchSize: number;
  readonly loss: LossChoice;
  readonly threads?: number;
  readonly frozen?: readonly string[];
}

const tied = sharedPath('models/stories260K');
const untied = fileURLToPath(new URL('../goldens/models/llama3', import.meta.url));
const directories = new Map<string, ModelDirectory>([tied, untied].map((path) => [path, openModelDirectory(path)]));

interface Trained {
  /** Loss and gradient norm of each update. */
  readonly numbers: readonly number[];
  /** All parameters and optimizer state after the last one. */
  readonly bytes: Buffer;
}

const done = new Map<string, Promise<Trained>>();

function trained(shape: Shape): Promise<Trained> {
  const key = JSON.stringify(shape);
  const result = done.get(key) ?? train(shape);
  done.set(key, result);
  return result;
}

async function train(shape: Shape): Promise<Trained> {
  const directory = directories.get(shape.model)!;
  const device = createCpuDevice({ threads: shape.threads ?? 2 });
  const run = compiled(shape);
  const state = await TrainingState.create(device, run.memory, run.constants);
  await readWeights(state, directory.path, directory.parameters);
  const numbers: number[] = [];
  for (let step = 1; step <= STEPS; step++) {
    const result = await runUpdate(state, run, updateBatch(directory.config.vocabularySize, shape, step), { learningRate: 1e-3, step }, new AbortController().signal);
    if (result.kind !== 'done') throw new Error(result.kind);
    numbers.push(result.loss, result.gradientNorm);
  }
  const blocks = [...state.blocks('parameter'), ...state.blocks('optimizer-state')].sort((a, b) => (a.value.name < b.value.name ? -1 : 1));
  const bytes = Buffer.concat(blocks.flatMap(({ value }) => [...state.pieces(value.name, 'f32')].map((piece) => Buffer.from(piece))));
  state.free();
  return { numbers, bytes };
}

function compiled({ model, rowLength, microBatchSize, loss, threads = 2, frozen = [] }: Shape, purpose: 'train' | 'evaluate' = 'train'): CompiledRun {
  const batch = { rowsPerUpdate: ROWS, microBatchSize, accumulationSteps: ROWS / microBatchSize };
  return compile({ model: directories.get(model)!.config, plan: { ...plainPlan({ rowLength, frozen }), batch, loss }, device: cpuSpec({ threads }), purpose });
}

/** Random rows: most tokens with a label, the second row without any. */
function updateBatch(vocabulary: number, { rowLength, microBatchSize }: Shape, step: number): UpdateBatch {
  const random = new RandomStream(step, 0);
  const rows = Array.from({ length: ROWS }, (_, row) => {
    const ids = Int32Array.from({ length: rowLength }, () => random.below(vocabulary));
    const labels = ids.map((_id, t) => (row === 1 || t + 1 === rowLength || random.below(10) < 3 ? -100 : ids[t + 1]!));
    return { ids, labels };
  });
  const trainedTokens = rows.reduce((sum, { labels }) => sum + labels.filter((label) => label >= 0).length, 0);
  const microBatches: MicroBatch[] = [];
  for (let first = 0; first < ROWS; first += microBatchSize) {
    const some = rows.slice(first, first + microBatchSize);
    const joined = (part: 'ids' | 'labels'): Int32Array => Int32Array.from(some.flatMap((row) => [...row[part]]));
    const positions = Int32Array.from({ length: microBatchSize * rowLength }, (_, i) => i % rowLength);
    microBatches.push({ rowLength, ids: joined('ids'), labels: joined('labels'), positions, documentStart: new Int32Array(positions.length) } as MicroBatch);
  }
  return { epoch: 0, endsEpoch: false, rows: ROWS, tokens: ROWS * rowLength, trainedTokens, microBatches };
}

async function expectSame(shape: Shape, expected: Shape): Promise<void> {
  const [one, other] = [await trained(shape), await trained(expected)];
  expect(one.numbers).toEqual(other.numbers);
  expect(one.bytes.equals(other.bytes), 'parameters and optimizer state').toBe(true);
}

const MODELS = [['a tied head', tied, 400], ['an untied head', untied, 200]] as const;

describe.each(MODELS)('a slice at a time, %s', (_, model, rowLength) => {
  const head = model === tied ? 'model.embed_tokens.weight' : 'lm_head.weight';
  const whole: Shape = { model, rowLength, microBatchSize: 4, loss: WHOLE };

  it.each([1, 2, 4, 1000])('%d token blocks: the bits of whole logits', async (blocks) => {
    await expectSame({ ...whole, loss: { kind: 'chunked', blocks } }, whole);
  });

  it.each([2, 1])('micro-batch %d: the bits of micro-batch 4', async (microBatchSize) => {
    await expectSame({ ...whole, microBatchSize, loss: { kind: 'chunked', blocks: 1 } }, whole);
    await expectSame({ ...whole, microBatchSize, loss: { kind: 'chunked', blocks: 2 } }, { ...whole, microBatchSize });
  });

  it.each([1, 3])('%d threads: the bits of 2', async (threads) => {
    await expectSame({ ...whole, threads, loss: { kind: 'chunked', blocks: 1 } }, whole);
  });

  it.each([4, 2])('short rows, micro-batch %d: the bits of whole logits', async (microBatchSize) => {
    const short: Shape = { ...whole, rowLength: 100, microBatchSize };
    await expectSame({ ...short, loss: { kind: 'chunked', blocks: 1 } }, short);
  });

  it.each([
    ['head', head],
    ['all but the head', ...directories.get(model)!.parameters.map(({ name }) => name).filter((name) => name !== head)],
  ])('frozen %s: the bits of whole logits', async (_what, ...frozen) => {
    for (const microBatchSize of [4, 2]) {
      const some: Shape = { ...whole, frozen, microBatchSize };
      await expectSame({ ...some, loss: { kind: 'chunked', blocks: 1 } }, some);
    }
  });

  it('has no logits of all tokens, in training and in evaluation', () => {
    const { vocabularySize: vocabulary } = directories.get(model)!.config;
    const slice: LossChoice = { kind: 'chunked', blocks: 1 };
    const logits = (loss: LossChoice, purpose: 'train' | 'evaluate'): number =>
      compiled({ ...whole, microBatchSize: 2, loss }, purpose).memory.programs.flatMap(({ graph }) => graph.nodes.flatMap((node) => node.outputs.map((id) => graph.values[id]!)))
        .filter(({ shape }) => shape.length === 3 && shape[2] === vocabulary).length;
    for (const purpose of ['train', 'evaluate'] as const) {
      expect(logits(WHOLE, purpose)).toBeGreaterThan(0);
      expect(logits(slice, purpose)).toBe(0);
    }
    expect(compiled({ ...whole, loss: slice }).memory.arenaBytes).toBeLessThan(compiled(whole).memory.arenaBytes);
  });

  it('projects once per micro-step', () => {
    const { programs } = compiled({ ...whole, microBatchSize: 2, loss: { kind: 'chunked', blocks: 1 } }).memory;
    const ops = programs.flatMap(({ graph }) => graph.nodes.map(({ op }) => op));
    const count = (name: string): number => ops.filter((op) => op === name).length;
    expect([count('linear_cross_entropy'), count('linear_cross_entropy_backward')]).toEqual([1, 2]); // evaluation; the first micro-step and the next
  });
});

it('saves most of the logits of a model of real size', () => {
  // The tiny models above have their peak elsewhere as soon as the logits are gone.
  const [rows, length, vocabulary] = [8, 512, 49152];
  const model = parseModelConfig({
    architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3,
    vocab_size: vocabulary, tie_word_embeddings: true, max_position_embeddings: 2048, rms_norm_eps: 1e-5, hidden_act: 'silu',
  }, 'test');
  const arenaBytes = (loss: LossChoice): number => {
    const plan = { ...plainPlan({ rowLength: length }), batch: { rowsPerUpdate: rows, microBatchSize: rows, accumulationSteps: 1 }, loss };
    return compile({ model, plan, device: cpuSpec({ threads: 2 }), purpose: 'train' }).memory.arenaBytes;
  };
  const logits = rows * length * vocabulary * 4;
  expect(arenaBytes(WHOLE) - arenaBytes({ kind: 'chunked', blocks: 1 })).toBeGreaterThan(0.6 * logits);
});

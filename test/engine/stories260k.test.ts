/**
 * The engine against an independent PyTorch implementation in f64, on real weights and real text: loss, every gradient, 20-step AdamW
 * curves, with the whole batch at once and row by row.
 */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile, type CompiledRun } from '../../src/compile/compile.ts';
import type { MicroBatch, UpdateBatch } from '../../src/data/batches.ts';
import { createCpuDevice } from '../../src/devices/cpu/cpu-device.ts';
import { WeightFiles } from '../../src/files/weight-files.ts';
import { decodeElements } from '../../src/graph/dtype.ts';
import { plainPlan, type TrainingPlan } from '../../src/run/training-plan.ts';
import { openModelDirectory } from '../../src/train/model-directory.ts';
import { runUpdate } from '../../src/train/run-update.ts';
import { TrainingState } from '../../src/train/training-state.ts';
import { readWeights } from '../../src/train/weights.ts';
import { sharedPath } from '../../src/testing/shared.ts';

interface Curve {
  readonly losses: readonly number[];
  readonly global_grad_norms: readonly number[];
}

interface Reference {
  readonly input_ids: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  readonly f64: Readonly<Record<string, Curve>> & { readonly loss: number; readonly global_grad_norm: number };
}

const ROWS = 4;
const LENGTH = 128;
const model = openModelDirectory(sharedPath('models/stories260K'));
const reference = (JSON.parse(readFileSync(sharedPath('reference/stories260K_dense.json'), 'utf8')) as { dense: Reference }).dense;
const device = createCpuDevice({ threads: 2 });
const never = new AbortController().signal;

function trainingPlan(microBatchSize: number, changes: Partial<TrainingPlan> = {}): TrainingPlan {
  return {
    ...plainPlan({ rowLength: LENGTH, maxGradNorm: 0 }),
    batch: { rowsPerUpdate: ROWS, microBatchSize, accumulationSteps: ROWS / microBatchSize },
    optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
    ...changes,
  };
}

/** The reference's four rows, labels shifted to the token that predicts them, in micro-batches. */
function update(microBatchSize: number): UpdateBatch {
  const microBatches = Array.from({ length: ROWS / microBatchSize }, (_, index): MicroBatch => {
    const rows = Array.from({ length: microBatchSize }, (_, row) => index * microBatchSize + row);
    const ids = Int32Array.from(rows.flatMap((row) => reference.input_ids[row]!));
    const labels = Int32Array.from(rows.flatMap((row) => [...reference.labels[row]!.slice(1), -100]));
    const positions = Int32Array.from(rows.flatMap(() => Array.from({ length: LENGTH }, (_, t) => t)));
    return { rowLength: LENGTH, ids, labels, positions, documentStart: new Int32Array(ids.length), trainedTokens: labels.filter((label) => label >= 0).length };
  });
  const trainedTokens = microBatches.reduce((sum, batch) => sum + batch.trainedTokens, 0);
  return { epoch: 0, endsEpoch: false, rows: ROWS, tokens: ROWS * LENGTH, trainedTokens, microBatches };
}

async function start(plan: TrainingPlan): Promise<{ readonly run: CompiledRun; readonly state: TrainingState }> {
  const run = compile({ model: model.config, plan, device, purpose: 'train' });
  const state = await TrainingState.create(device, run.memory, run.constants);
  await readWeights(state, model.path, model.parameters);
  return { run, state };
}

/** Losses before each of 20 updates, gradient norms, and all parameters afterwards. */
async function curve(plan: TrainingPlan): Promise<{ readonly losses: number[]; readonly norms: number[]; readonly weights: Buffer }> {
  const { run, state } = await start(plan);
  try {
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 1; step <= 20; step++) {
      const result = await runUpdate(state, run, update(plan.batch.microBatchSize), { learningRate: 1e-4, step }, never);
      if (result.kind !== 'done') throw new Error(`step ${step}: ${result.kind}`);
      losses.push(result.loss);
      norms.push(result.gradientNorm);
    }
    const weights = Buffer.concat(model.parameters.flatMap(({ name }) => [...state.pieces(name, 'f32')]));
    return { losses, norms, weights };
  } finally {
    state.free();
  }
}

function relativeError(actual: readonly number[], expected: readonly number[]): number {
  return Math.max(...actual.map((value, index) => Math.abs(value - expected[index]!) / Math.abs(expected[index]!)));
}

describe('stories260K against PyTorch in f64', () => {
  const plain = 'adamw20_decay_2d_batch4';
  const clipped = 'adamw20_decay_2d_clip1_batch4';

  it.each([4, 2, 1])('follows the 20-step AdamW curve with micro-batches of %i rows', async (rows) => {
    const { losses, norms } = await curve(trainingPlan(rows));
    expect(relativeError(losses, reference.f64[plain]!.losses)).toBeLessThan(2e-6);
    expect(relativeError(norms, reference.f64[plain]!.global_grad_norms)).toBeLessThan(2e-5);
  });

  it.each([4, 1])('follows it with gradients clipped to norm 1, micro-batches of %i rows', async (rows) => {
    const { losses } = await curve(trainingPlan(rows, { maxGradNorm: 1 }));
    expect(relativeError(losses, reference.f64[clipped]!.losses)).toBeLessThan(2e-6);
  });

  it('gives the same bits for 1×4, 2×2 and 4×1 rows per micro-batch', async () => {
    const [whole, halves, single] = await Promise.all([4, 2, 1].map((rows) => curve(trainingPlan(rows, { maxGradNorm: 1 }))));
    expect(halves!.losses).toEqual(whole!.losses);
    expect(single!.losses).toEqual(whole!.losses);
    expect(halves!.weights.equals(whole!.weights)).toBe(true);
    expect(single!.weights.equals(whole!.weights)).toBe(true);
  });
});

const LAYERS = model.config.layers;
const BLOCK_INPUTS = ['attention/rmsnorm', 'attention/rotary', 'attention/matmul_nt', 'attention/attention', 'attention/add', 'mlp/matmul_nt', 'mlp/swiglu'];

describe('techniques that promise the same bits', () => {
  const drop = (layers: number, ...values: string[]): Partial<TrainingPlan> => ({ recompute: { dropped: values.map((value) => ({ value, layers })) } });
  const cases: readonly (readonly [string, number, Partial<TrainingPlan>])[] = [
    ['recompute of pointwise values', 4, drop(LAYERS, 'attention/rmsnorm', 'mlp/swiglu')],
    ['recompute of some layers', 4, drop(2, 'mlp/matmul_nt', 'attention/attention')],
    ['recompute to block inputs only', 4, drop(LAYERS, ...BLOCK_INPUTS)],
    ['recompute in micro-batches', 2, drop(LAYERS, ...BLOCK_INPUTS)],
    ['optimizer in backward', 4, { update: 'in-backward' }],
    ['optimizer in backward with recompute', 4, { update: 'in-backward', ...drop(LAYERS, ...BLOCK_INPUTS) }],
  ];

  describe.each([0, 1])('with gradients clipped to %d', (maxGradNorm) => {
    it.each(cases)('%s', async (_name, rows, changes) => {
      const plain = await curve(trainingPlan(4, { maxGradNorm }));
      const other = await curve(trainingPlan(rows, { maxGradNorm, ...changes }));
      expect(other.losses).toEqual(plain.losses);
      expect(other.norms).toEqual(plain.norms);
      expect(other.weights.equals(plain.weights)).toBe(true);
    });
  });
});

describe('gradients of stories260K', () => {
  let gradients: WeightFiles;
  beforeAll(() => {
    gradients = WeightFiles.openFile(sharedPath('reference/grads_dense.safetensors'));
  });
  afterAll(() => gradients.close());

  it.each([4, 1])('are each within 1e-4 of their norm, micro-batches of %i rows', async (rows) => {
    // Plain SGD at rate 1 moves each parameter by exactly its gradient.
    const plan = trainingPlan(rows, { optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 } });
    const { run, state } = await start(plan);
    try {
      const before = new Map(model.parameters.map(({ name }) => [name, decodeElements('f32', new Uint8Array(Buffer.concat([...state.pieces(name, 'f32')])))]));
      await runUpdate(state, run, update(rows), { learningRate: 1, step: 1 }, never);
      for (const { name } of model.parameters) {
        const after = decodeElements('f32', new Uint8Array(Buffer.concat([...state.pieces(name, 'f32')])));
        const expected: number[] = [];
        await gradients.readTensor(name, (bytes) => {
          expected.push(...decodeElements('f32', bytes.slice()));
        });
        let error = 0;
        let norm = 0;
        after.forEach((value, index) => {
          error += (before.get(name)![index]! - value - expected[index]!) ** 2;
          norm += expected[index]! ** 2;
        });
        expect(Math.sqrt(error / norm), name).toBeLessThan(1e-4);
      }
    } finally {
      state.free();
    }
  });
});

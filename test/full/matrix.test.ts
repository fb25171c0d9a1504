/**
 * Every pair of techniques trains as their tiers say: what promises the same bits gives them, whatever it is combined with; what changes the
 * numbers still learns. The pairs come from the technique table and its contract, which also says the few that are refused.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile/compile.ts';
import type { MicroBatch, UpdateBatch } from '../../src/data/batches.ts';
import { createCpuDevice } from '../../src/devices/cpu/cpu-device.ts';
import type { TrainingPlan } from '../../src/run/training-plan.ts';
import { plainPlan } from '../../src/run/training-plan.ts';
import { TECHNIQUES } from '../../src/techniques/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { openModelDirectory } from '../../src/train/model-directory.ts';
import { runUpdate } from '../../src/train/run-update.ts';
import { TrainingState } from '../../src/train/training-state.ts';
import { readWeights } from '../../src/train/weights.ts';

const ROWS = 4;
const LENGTH = 128;
const STEPS = 4;
const model = openModelDirectory(sharedPath('models/stories260K'));
const device = createCpuDevice({ threads: 1 });
const layers = model.config.layers;
const batch = (microBatchSize: number): Partial<TrainingPlan> => ({ batch: { rowsPerUpdate: ROWS, microBatchSize, accumulationSteps: ROWS / microBatchSize } });
const adam = { beta1: 0.9, beta2: 0.999, weightDecay: 0.1 };
const BLOCK_INPUTS = ['attention/rmsnorm', 'attention/rotary', 'attention/matmul_nt', 'attention/attention', 'attention/add', 'mlp/matmul_nt', 'mlp/swiglu'];

interface Variant {
  readonly name: string;
  /** The technique whose value this is. */
  readonly technique: string;
  readonly change: Partial<TrainingPlan>;
}

const VARIANTS: readonly Variant[] = [
  { name: 'micro-batch 2 × 2', technique: 'gradient accumulation', change: batch(2) },
  { name: 'micro-batch 1 × 4', technique: 'gradient accumulation', change: batch(1) },
  { name: 'chunked loss', technique: 'chunked loss', change: { loss: { kind: 'chunked', blocks: 1 } } },
  { name: 'chunked loss, 2 blocks', technique: 'chunked loss', change: { loss: { kind: 'chunked', blocks: 2 } } },
  { name: 'recompute of some', technique: 'recompute', change: { recompute: { dropped: [{ value: 'mlp/swiglu', layers }, { value: 'attention/attention', layers: 2 }] } } },
  { name: 'recompute to block inputs', technique: 'recompute', change: { recompute: { dropped: BLOCK_INPUTS.map((value) => ({ value, layers })) } } },
  { name: 'optimizer in backward', technique: 'optimizer in backward', change: { update: 'in-backward' } },
  { name: 'offloaded state', technique: 'offload', change: { offload: { optimizerState: true, activationLayers: 0 } } },
  { name: 'offloaded activations', technique: 'offload', change: { offload: { optimizerState: false, activationLayers: layers } } },
  { name: 'bf16', technique: 'precision', change: { precision: { activations: 'bf16', weights: 'f32' } } },
  { name: 'fp16', technique: 'precision', change: { precision: { activations: 'f16', weights: 'f32' } } },
  { name: 'bf16 weights', technique: 'precision', change: { precision: { activations: 'f32', weights: 'bf16' } } },
  { name: 'bf16 with bf16 weights', technique: 'precision', change: { precision: { activations: 'bf16', weights: 'bf16' } } },
  { name: '8-bit AdamW', technique: 'optimizer', change: { optimizer: { kind: 'adamw_8bit', ...adam, epsilon: 1e-8, embeddings: true } } },
  { name: 'Adafactor', technique: 'optimizer', change: { optimizer: { kind: 'adafactor', beta1: 0, weightDecay: 0.1 } } },
  { name: 'Adafactor with momentum', technique: 'optimizer', change: { optimizer: { kind: 'adafactor', beta1: 0.9, weightDecay: 0.1 } } },
  { name: 'Lion', technique: 'optimizer', change: { optimizer: { kind: 'lion', ...adam } } },
  { name: 'SGD', technique: 'optimizer', change: { optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0.1 } } },
];

function planOf(...variants: readonly Variant[]): TrainingPlan {
  const start: TrainingPlan = { ...plainPlan({ rowLength: LENGTH }), ...batch(ROWS), optimizer: { kind: 'adamw', ...adam, epsilon: 1e-8 } };
  return variants.reduce<TrainingPlan>((plan, { change }) => ({ ...plan, ...change }), start);
}

const tierOf = ({ technique, change }: Variant): string => TECHNIQUES.find(({ name }) => name === technique)!.numerics({ ...planOf(), ...change });
const conflictsOf = (plan: TrainingPlan): readonly string[] => TECHNIQUES.flatMap((technique) => technique.conflict(plan) ?? []);

interface Reference {
  readonly dense: { readonly input_ids: readonly (readonly number[])[] };
}

const { input_ids: rowsOfIds } = (JSON.parse(readFileSync(sharedPath('reference/stories260K_dense.json'), 'utf8')) as Reference).dense;

/** Four rows of stories in micro-batches; every eleventh token carries no loss. */
function update(microBatchSize: number): UpdateBatch {
  const microBatches = Array.from({ length: ROWS / microBatchSize }, (_, index): MicroBatch => {
    const rows = rowsOfIds.slice(index * microBatchSize, (index + 1) * microBatchSize);
    const labels = Int32Array.from(rows.flatMap((ids) => ids.map((_id, i) => (i + 1 < LENGTH && i % 11 !== 0 ? ids[i + 1]! : -100))));
    const positions = Int32Array.from(labels, (_, i) => i % LENGTH);
    return { rowLength: LENGTH, ids: Int32Array.from(rows.flat()), labels, positions, documentStart: new Int32Array(labels.length), trainedTokens: labels.filter((label) => label >= 0).length };
  });
  const trainedTokens = microBatches.reduce((sum, each) => sum + each.trainedTokens, 0);
  return { epoch: 0, endsEpoch: false, rows: ROWS, tokens: ROWS * LENGTH, trainedTokens, microBatches };
}

interface Trained {
  readonly losses: readonly number[];
  readonly weights: Buffer;
}

const known = new Map<string, Promise<Trained>>();

function trained(plan: TrainingPlan): Promise<Trained> {
  const key = JSON.stringify(plan);
  const result = known.get(key) ?? train(plan);
  known.set(key, result);
  return result;
}

async function train(plan: TrainingPlan): Promise<Trained> {
  const run = compile({ model: model.config, plan, device, purpose: 'train' });
  const state = await TrainingState.create(device, run.memory, run.constants);
  try {
    await readWeights(state, model.path, model.parameters);
    const losses: number[] = [];
    const rate = plan.optimizer.kind === 'sgd' ? 1e-2 : plan.optimizer.kind === 'lion' ? 1e-4 : 1e-3;
    for (let step = 1; step <= STEPS; step++) {
      const result = await runUpdate(state, run, update(plan.batch.microBatchSize), { learningRate: rate, step, lossScale: 1024 }, new AbortController().signal);
      if (result.kind !== 'done') throw new Error(`step ${step}: ${result.kind}`);
      losses.push(result.loss);
    }
    return { losses, weights: Buffer.concat(model.parameters.flatMap(({ name }) => [...state.pieces(name, 'f32')])) };
  } finally {
    state.free();
  }
}

const PAIRS = VARIANTS.flatMap((a, i) => VARIANTS.slice(i + 1).filter((b) => b.technique !== a.technique).map((b) => [a, b] as const));

describe('the contract', () => {
  it('refuses one pair only: an optimizer in backward with accumulation', () => {
    const refused = PAIRS.filter(([a, b]) => conflictsOf(planOf(a, b)).length > 0).map(([a, b]) => `${a.technique} + ${b.technique}`);
    expect([...new Set(refused)]).toEqual(['gradient accumulation + optimizer in backward']);
    expect(VARIANTS.flatMap((variant) => conflictsOf(planOf(variant)))).toEqual([]);
  });

  it('has a variant of every technique that has a choice', () => {
    expect(new Set([...VARIANTS.map(({ technique }) => technique), 'packing'])).toEqual(new Set(TECHNIQUES.map(({ name }) => name)));
  });
});

describe('alone', () => {
  it.each(VARIANTS.map((variant) => [variant.name, variant] as const))('%s trains as its tier says', async (_name, variant) => {
    await trainsAsPromised(variant, []);
  });
});

describe('in pairs', () => {
  const possible = PAIRS.filter(([a, b]) => conflictsOf(planOf(a, b)).length === 0);
  it.each(possible.map(([a, b]) => [`${a.name} + ${b.name}`, a, b] as const))('%s', async (_name, a, b) => {
    // Each against the run without it: a pair of two bitwise techniques is compared twice.
    if (tierOf(a) !== 'changed' || tierOf(b) === 'changed') await trainsAsPromised(a, [b]);
    if (tierOf(b) !== 'changed') await trainsAsPromised(b, [a]);
  });
});

async function trainsAsPromised(variant: Variant, others: readonly Variant[]): Promise<void> {
  const without = await trained(planOf(...others));
  const result = await trained(planOf(...others, variant));
  if (tierOf(variant) === 'bitwise') {
    expect(result.losses).toEqual(without.losses);
    expect(result.weights.equals(without.weights)).toBe(true);
    return;
  }
  expect(result.losses.at(-1)!).toBeLessThan(result.losses[0]!);
  expect(Math.abs(result.losses[0]! / without.losses[0]! - 1)).toBeLessThan(5e-3);
}

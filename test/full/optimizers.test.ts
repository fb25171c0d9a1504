/** Each optimizer from config to files: it learns, its state is stored under its names and types, and a resumed run goes on bit for bit. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src/files/safetensors.ts';
import { resume, train, type RunConfig, type TrainingRun } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STEPS = 6;
const STOP_AFTER = 2;

interface Case {
  readonly changes: Partial<RunConfig>;
  /** Of a matrix of 64 × 64, `F32 [64,64]`, by what follows the parameter's name. */
  readonly matrix: Readonly<Record<string, string>>;
  /** Of the embedding. */
  readonly embedding: Readonly<Record<string, string>>;
}

const full = (...names: string[]): Record<string, string> => Object.fromEntries(names.map((name) => [name, 'F32 [64,64]']));
const table = (...names: string[]): Record<string, string> => Object.fromEntries(names.map((name) => [name, 'F32 [512,64]']));
const codes = (shape: string, blocks: number): Record<string, string> => ({
  exp_avg: `U8 ${shape}`, 'exp_avg.absmax': `F32 [${blocks}]`, exp_avg_sq: `U8 ${shape}`, 'exp_avg_sq.absmax': `F32 [${blocks}]`,
});

const CASES: readonly Case[] = [
  { changes: { optim: 'adamw_torch' }, matrix: full('exp_avg', 'exp_avg_sq'), embedding: table('exp_avg', 'exp_avg_sq') },
  { changes: { optim: 'adamw_bnb_8bit' }, matrix: codes('[64,64]', 16), embedding: table('exp_avg', 'exp_avg_sq') },
  { changes: { optim: 'adamw_8bit', optim_8bit_embeddings: true }, matrix: codes('[64,64]', 16), embedding: codes('[512,64]', 128) },
  {
    changes: { optim: 'adafactor' },
    matrix: { exp_avg_sq_row: 'F32 [64]', exp_avg_sq_col: 'F32 [64]' }, embedding: { exp_avg_sq_row: 'F32 [512]', exp_avg_sq_col: 'F32 [64]' },
  },
  {
    changes: { optim: 'adafactor', adafactor_beta1: 0.9 },
    matrix: { exp_avg_sq_row: 'F32 [64]', exp_avg_sq_col: 'F32 [64]', ...full('exp_avg') }, embedding: { exp_avg_sq_row: 'F32 [512]', exp_avg_sq_col: 'F32 [64]', ...table('exp_avg') },
  },
  { changes: { optim: 'lion_32bit', adam_beta2: 0.99, learning_rate: 1e-4 }, matrix: full('exp_avg'), embedding: table('exp_avg') },
  { changes: { optim: 'sgd', learning_rate: 1e-2 }, matrix: full('momentum_buffer'), embedding: table('momentum_buffer') },
];

function config(name: string, changes: Partial<RunConfig>): RunConfig {
  return {
    model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: join(folder, name), overlong: 'split', shuffle: false,
    max_length: 128, train_batch_size: 4, per_device_train_batch_size: 2, max_steps: STEPS, learning_rate: 5e-4, weight_decay: 0.1, save_steps: 100, threads: 1, ...changes,
  };
}

async function losses(run: TrainingRun, onStep: (step: number) => void = () => undefined): Promise<readonly number[]> {
  const seen: number[] = [];
  for await (const event of run) {
    if (event.kind !== 'step') continue;
    seen.push(event.loss);
    onStep(event.step);
  }
  return seen;
}

const stored = (run: string, file: string): Buffer => readFileSync(join(folder, run, file));

describe.each(CASES.map((one) => [Object.entries(one.changes).map(([key, value]) => `${key} ${String(value)}`).join(', '), one] as const))('%s', (name, { changes, matrix, embedding }) => {
  it('learns, and goes on bit for bit after an interruption', async () => {
    const whole = await losses(train(config(`${name}, whole`, changes)));
    expect(whole).toHaveLength(STEPS);
    expect(whole.at(-1)!).toBeLessThan(whole[0]! * 0.99);
    const stop = new AbortController();
    const first = await losses(train(config(`${name}, stopped`, changes), { signal: stop.signal }), (step) => {
      if (step === STOP_AFTER) stop.abort();
    });
    const second = await losses(resume(join(folder, `${name}, stopped`)));
    expect(second.length).toBeGreaterThan(0);
    expect([...first, ...second]).toEqual(whole);
    for (const file of ['model/model.safetensors', `checkpoint-${STEPS}/optimizer.safetensors`]) {
      expect(stored(`${name}, stopped`, file).equals(stored(`${name}, whole`, file)), file).toBe(true);
    }
  });

  it('stores its state as it is', () => {
    const { tensors } = readSafetensorsHeader(join(folder, `${name}, whole`, `checkpoint-${STEPS}`, 'optimizer.safetensors'));
    const of = (parameter: string): Record<string, string> => Object.fromEntries(tensors.filter((tensor) => tensor.name.startsWith(`${parameter}.`))
      .map((tensor) => [tensor.name.slice(parameter.length + 1), `${tensor.dtype} [${tensor.shape.join(',')}]`]));
    expect(of('model.layers.0.self_attn.q_proj.weight')).toEqual(matrix);
    expect(of('model.embed_tokens.weight')).toEqual(embedding);
  });
});

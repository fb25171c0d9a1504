/** Low precision on the cpu: near f32 and near the reference device, and the same bits for any threads, micro-batch or interruption. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { resume, train, type RunConfig, type RunEvent, type TrainingRun } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Trained {
  readonly losses: readonly number[];
  readonly norms: readonly (number | null)[];
  readonly weights: Buffer;
}

const done = new Map<string, Promise<Trained>>();
let count = 0;

function config(name: string, changes: Partial<RunConfig>): RunConfig {
  return {
    model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: join(folder, name), overlong: 'split',
    max_length: 128, train_batch_size: 4, per_device_train_batch_size: 2, max_steps: 8, learning_rate: 1e-3, lr_scheduler_type: 'constant', shuffle: false,
    save_steps: 100, threads: 1, ...changes,
  };
}

async function follow(run: TrainingRun, onEvent: (event: RunEvent) => void = () => undefined): Promise<Omit<Trained, 'weights'>> {
  const losses: number[] = [];
  const norms: (number | null)[] = [];
  for await (const event of run) {
    if (event.kind === 'step') {
      losses.push(event.loss);
      norms.push(event.gradientNorm);
    }
    onEvent(event);
  }
  return { losses, norms };
}

const weightsOf = (name: string): Buffer => readFileSync(join(folder, name, 'model', 'model.safetensors'));

function trained(changes: Partial<RunConfig>): Promise<Trained> {
  const key = JSON.stringify(changes);
  const known = done.get(key) ?? (async (): Promise<Trained> => {
    const name = String(count++);
    return { ...await follow(train(config(name, changes))), weights: weightsOf(name) };
  })();
  done.set(key, known);
  return known;
}

const difference = (a: readonly number[], b: readonly number[]): number => Math.max(...a.map((loss, step) => Math.abs(loss / b[step]! - 1)));

const CHOICES: readonly (readonly [string, Partial<RunConfig>, number])[] = [
  ['bf16', { bf16: true }, 1e-2],
  ['fp16', { fp16: true }, 2e-3],
  ['bf16 weights', { bf16_weights: true }, 3e-2],
  ['bf16 and bf16 weights', { bf16: true, bf16_weights: true }, 3e-2],
  ['fp16 and bf16 weights', { fp16: true, bf16_weights: true }, 3e-2],
];

describe.each(CHOICES)('%s', (_name, changes, tolerance) => {
  it('trains to losses near those of f32', async () => {
    const [plain, low] = await Promise.all([trained({}), trained(changes)]);
    expect(low.losses).not.toEqual(plain.losses);
    expect(difference(low.losses, plain.losses)).toBeLessThan(tolerance);
  });

  it('is what the reference device computes, but for the order of sums', async () => {
    const short = { ...changes, max_length: 64, train_batch_size: 4, per_device_train_batch_size: 4, max_steps: 1 };
    const [cpu, reference] = await Promise.all([trained(short), trained({ ...short, device: 'reference' })]);
    expect(difference(cpu.losses, reference.losses)).toBeLessThan(tolerance / 5); // 16-bit roundings flip with the order of sums
    expect(Math.abs(cpu.norms[0]! / reference.norms[0]! - 1)).toBeLessThan(tolerance);
  });

  it('gives the same bits for any micro-batch and any number of threads', async () => {
    const base = await trained(changes);
    for (const other of [{ per_device_train_batch_size: 4 }, { per_device_train_batch_size: 1 }, { threads: 2 }, { threads: 3 }]) {
      const { losses, weights } = await trained({ ...changes, ...other });
      expect(losses, JSON.stringify(other)).toEqual(base.losses);
      expect(weights.equals(base.weights), JSON.stringify(other)).toBe(true);
    }
  });

  it('goes on bit for bit after an interruption', async () => {
    const base = await trained(changes);
    const name = `parts-${count++}`;
    const stop = new AbortController();
    const first = await follow(train(config(name, changes), { signal: stop.signal }), (event) => {
      if (event.kind === 'step' && event.step === 3) stop.abort();
    });
    const second = await follow(resume(join(folder, name)));
    expect([...first.losses, ...second.losses]).toEqual(base.losses);
    expect(weightsOf(name).equals(base.weights)).toBe(true);
  });
});

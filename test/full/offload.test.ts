/**
 * Runs with optimizer state and activations in a file against the plain run, on a model whose tensors are large enough to be moved: the same
 * losses, weights and optimizer.safetensors, bit for bit; so too after an interruption, and after the disk has failed.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { initModel, plan, resume, train, type RunConfig } from '../../src/index.ts';
import { readSafetensorsHeader } from '../../src/files/safetensors.ts';
import { sharedPath } from '../../src/testing/shared.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STEPS = 4;
const model = join(folder, 'model');
// 256 × 4608 elements are more than one slice; attention's 256 × 256 are too few to be moved.
beforeAll(() => initModel({
  directory: model, like: sharedPath('models/stories260K'), overrides: { hidden_size: 256, intermediate_size: 4608, num_hidden_layers: 2, num_attention_heads: 8, num_key_value_heads: 4 },
}));

function config(name: string, changes: Partial<RunConfig> = {}): RunConfig {
  return {
    model, dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: join(folder, name), max_length: 64, overlong: 'split', train_batch_size: 2,
    per_device_train_batch_size: 1, max_steps: STEPS, save_steps: 2, save_total_limit: 9, learning_rate: 1e-4, threads: 1, ...changes,
  };
}

const STATE: Partial<RunConfig> = { offload_optimizer_state: true };
const BOTH: Partial<RunConfig> = { ...STATE, offload_activation_layers: 2 };

async function losses(name: string, changes: Partial<RunConfig> = {}): Promise<readonly number[]> {
  const found: number[] = [];
  for await (const event of train(config(name, changes))) if (event.kind === 'step') found.push(event.loss);
  return found;
}

const bytes = (run: string, file: string): Buffer => readFileSync(join(folder, run, file));
const FILES = ['model/model.safetensors', `checkpoint-${STEPS}/model.safetensors`, `checkpoint-${STEPS}/optimizer.safetensors`, 'checkpoint-2/optimizer.safetensors'];

function expectSameFiles(run: string, wanted: string, files: readonly string[] = FILES): void {
  for (const file of files) expect(bytes(run, file).equals(bytes(wanted, file)), `${file} of ${run}`).toBe(true);
}

describe('offload', () => {
  let plain: readonly number[];
  beforeAll(async () => {
    plain = await losses('plain');
    expect(plain).toHaveLength(STEPS);
    expect(plain.at(-1)!).toBeLessThan(plain[0]!);
  });

  it.each([
    ['state', STATE], ['activations', { offload_activation_layers: 1 }], ['both, two threads', { ...BOTH, threads: 2 }], ['both, three threads', { ...BOTH, threads: 3 }],
  ] as const)('changes no bit: %s', async (name, changes) => {
    expect(await losses(name, changes)).toEqual(plain);
    expectSameFiles(name, 'plain');
    expect(readdirSync(join(folder, name)).filter((entry) => entry.includes('offload'))).toEqual([]);
  });

  it('changes no bit of a fused step, nor with sgd', async () => {
    const fused = { per_device_train_batch_size: 2 };
    expect(await losses('fused, both', { ...fused, ...BOTH })).toEqual(await losses('fused', fused));
    expectSameFiles('fused, both', 'fused');
    const sgd = { optim: 'sgd', learning_rate: 1e-3 };
    expect(await losses('sgd, both', { ...sgd, ...BOTH })).toEqual(await losses('sgd', sgd));
    expectSameFiles('sgd, both', 'sgd');
  });

  it('goes on bit for bit after an interruption', async () => {
    const stop = new AbortController();
    for await (const event of train(config('stopped', BOTH), { signal: stop.signal })) if (event.kind === 'step' && event.step === 3) stop.abort();
    expect(existsSync(join(folder, 'stopped', 'model'))).toBe(false);
    await resume(join(folder, 'stopped')).result;
    expectSameFiles('stopped', 'plain');
  });

  it('may be asked for, or given up, when a run is resumed', async () => {
    const stop = new AbortController();
    for await (const event of train(config('changed'), { signal: stop.signal })) if (event.kind === 'step' && event.step === 2) stop.abort();
    const arenas: number[] = [];
    const again = async (changes: Partial<RunConfig>, until: number): Promise<void> => {
      const pause = new AbortController();
      for await (const event of resume(join(folder, 'changed'), changes, { signal: pause.signal })) {
        if (event.kind === 'start') arenas.push(event.memory!.arenaBytes);
        if (event.kind === 'step' && event.step === until) pause.abort();
      }
    };
    await again(BOTH, 3);
    await again({ offload_optimizer_state: false, offload_activation_layers: 0 }, STEPS + 1);
    expect(arenas[0]).toBeLessThan(arenas[1]!);
    expectSameFiles('changed', 'plain');
  });

  it('is in the plan: less memory, a file, nothing written', async () => {
    const [without, with_] = [await plan(config('planned')), await plan(config('planned', BOTH))];
    expect(without.memory.fileBytes).toBe(0);
    const tensors = readSafetensorsHeader(join(folder, 'plain', 'checkpoint-2', 'optimizer.safetensors'));
    const large = [...tensors.tensors.values()].map(({ shape }) => 4 * shape.reduce((a, b) => a * b, 1)).filter((size) => size >= 2 ** 20);
    expect(with_.memory.fileBytes).toBeGreaterThanOrEqual(large.reduce((a, b) => a + b, 0));
    expect(with_.memory.arenaBytes).toBeLessThan(without.memory.arenaBytes);
    expect(with_.techniques.find(({ key }) => key === 'offload')?.value).toBe('optimizer state and activations of the first 2 layers in a file');
    expect(existsSync(join(folder, 'planned'))).toBe(false);
  });

  it('ends the run when the disk fails, and leaves the last checkpoint', async () => {
    const child = fileURLToPath(new URL('offload-child.mjs', import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [child, JSON.stringify(config('full', STATE))], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { steps, error } = JSON.parse(stdout) as { readonly steps: readonly number[]; readonly error: Readonly<Record<string, string>> };
    expect(steps).toEqual([1, 2]);
    expect(error['code']).toBe('E_FILE');
    expect(error['message']).toMatch(/^cannot write \d+ bytes at byte \d+ of the offload file, \d+ of them are done: File too large$/);
    expect(error['where']).toBe(join(folder, 'full'));
    expect(error['remedy']).toMatch(/Free room on that disk.*fulltune resume/);
    expect(readdirSync(join(folder, 'full')).filter((name) => name.startsWith('checkpoint-'))).toEqual(['checkpoint-2']);
    await resume(join(folder, 'full')).result;
    expectSameFiles('full', 'plain');
  }, 120_000);
});

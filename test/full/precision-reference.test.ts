/**
 * Runs in low precision from config to finished model, on the reference device: it rounds every value to the type that the plan gives it, and takes
 * all types in all ops. What a run writes, resumes from and says is the same on every device.
 */

import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plan, resume, train, type RunConfig, type RunEvent } from '../../src/index.ts';
import { WeightFiles } from '../../src/files/weight-files.ts';
import { decodeElements, encodeElements } from '../../src/graph/dtype.ts';
import { initModel } from '../../src/train/init-model.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import type { StepEvent } from '../../src/run/events.ts';
import { collectEvents } from '../support/run-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** stories260K's tokenizer and shape, smaller, with random weights. */
const small = join(folder, 'small-model');
beforeAll(async () => {
  await initModel({
    directory: small, like: sharedPath('models/stories260K'),
    overrides: { hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 },
  });
});

/** Two short documents, the same in every update. */
const dataset = join(folder, 'sentences.jsonl');
const sentences = readFileSync(sharedPath('datasets/tinystories_sample.txt'), 'utf8').split('. ').filter(({ length }) => length > 40 && length < 70).slice(0, 2);
writeFileSync(dataset, sentences.map((text) => `${JSON.stringify({ text })}\n`).join(''));

function config(name: string, changes: Partial<RunConfig> = {}): RunConfig {
  return {
    model: small, dataset, output_dir: join(folder, name), device: 'reference',
    max_length: 32, packing: false, train_batch_size: 2, per_device_train_batch_size: 1, max_steps: 6, learning_rate: 1e-2, lr_scheduler_type: 'constant',
    save_steps: 100, shuffle: false, ...changes,
  };
}

const stepsOf = (list: readonly RunEvent[]): readonly StepEvent[] => list.flatMap((event) => (event.kind === 'step' ? [event] : []));
const lossesOf = (list: readonly RunEvent[]): readonly number[] => stepsOf(list).map(({ loss }) => loss);
const bytes = (run: string, file: string): Buffer => readFileSync(join(folder, run, file));

interface Stored {
  readonly dtype: string;
  readonly axes: number;
  readonly bytes: Buffer;
}

async function tensorsOf(path: string): Promise<ReadonlyMap<string, Stored>> {
  const files = WeightFiles.open(path);
  const tensors = new Map<string, Stored>();
  for (const [name, { dtype, shape }] of files.tensors) {
    const pieces: Buffer[] = [];
    await files.readTensor(name, (chunk) => void pieces.push(Buffer.from(chunk)));
    tensors.set(name, { dtype, axes: shape.length, bytes: Buffer.concat(pieces) });
  }
  files.close();
  return tensors;
}

/** Runs to the end, and again in two parts with an interruption behind step 3. */
async function interrupted(name: string, changes: Partial<RunConfig>): Promise<{ readonly whole: readonly RunEvent[]; readonly parts: readonly RunEvent[] }> {
  const whole = await collectEvents(train(config(`${name}-whole`, changes)));
  const stop = new AbortController();
  const first = await collectEvents(train(config(`${name}-parts`, changes), { signal: stop.signal }), (event) => {
    if (event.kind === 'step' && event.step === 3) stop.abort();
  });
  const second = await collectEvents(resume(join(folder, `${name}-parts`)));
  return { whole, parts: [...first, ...second] };
}

function expectSameRun(name: string, { whole, parts }: Awaited<ReturnType<typeof interrupted>>): void {
  const essence = (list: readonly RunEvent[]): unknown => stepsOf(list).map(({ step, loss, gradientNorm, lossScale, skipped }) => ({ step, loss, gradientNorm, lossScale, skipped }));
  expect(essence(parts)).toEqual(essence(whole));
  for (const file of ['model/model.safetensors', 'checkpoint-6/optimizer.safetensors', 'checkpoint-6/model.safetensors']) {
    expect(bytes(`${name}-parts`, file).equals(bytes(`${name}-whole`, file)), file).toBe(true);
  }
  const position = (run: string): unknown => {
    const { log_history: log, loss_scale: scale, global_step: step } = JSON.parse(bytes(run, 'checkpoint-6/trainer_state.json').toString()) as Record<string, unknown>;
    return { log, scale, step };
  };
  expect(position(`${name}-parts`)).toEqual(position(`${name}-whole`));
}

describe('bf16 activations and bf16 weights', () => {
  let run: Awaited<ReturnType<typeof interrupted>>;
  beforeAll(async () => {
    run = await interrupted('bf16', { bf16: true, bf16_weights: true });
  });

  it('learn', () => {
    const losses = lossesOf(run.whole);
    expect(losses).toHaveLength(6);
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
  });

  it('resume bit for bit', () => {
    expectSameRun('bf16', run);
  });

  it('are stored as they are held: bf16 but for norms and biases, exactly, in checkpoints; save_dtype decides model/', async () => {
    const held = await tensorsOf(join(folder, 'bf16-whole', 'checkpoint-6'));
    const saved = await tensorsOf(join(folder, 'bf16-whole', 'model'));
    const base = await tensorsOf(small);
    expect([...held.keys()].sort()).toEqual([...base.keys()].sort());
    for (const [name, { dtype, axes, bytes: content }] of held) {
      expect(dtype, name).toBe(axes >= 2 ? 'BF16' : 'F32');
      expect(saved.get(name)!.dtype, name).toBe(base.get(name)!.dtype);
      const exact = decodeElements(axes >= 2 ? 'bf16' : 'f32', new Uint8Array(content));
      expect(Buffer.from(encodeElements('f32', exact)).equals(saved.get(name)!.bytes), name).toBe(true);
    }
  });

  it('start from the base weights rounded to nearest', async () => {
    await collectEvents(train(config('still', { bf16_weights: true, learning_rate: 1e-12, max_steps: 1 })));
    const base = await tensorsOf(small);
    const held = await tensorsOf(join(folder, 'still', 'checkpoint-1'));
    for (const [name, { dtype, bytes: content }] of held) {
      if (dtype !== 'BF16') continue;
      const rounded = encodeElements('bf16', decodeElements('f32', new Uint8Array(base.get(name)!.bytes)));
      expect(Buffer.from(rounded).equals(content), name).toBe(true);
    }
  });

  it('are said before the run, and take less memory', async () => {
    const start = run.whole.find((event) => event.kind === 'start');
    expect(start?.techniques.find((line) => line.startsWith('precision'))).toContain('precision: bf16 activations, bf16 weights without f32 masters');
    const [full, low] = [await plan(config('plan')), await plan(config('plan', { bf16: true, bf16_weights: true }))];
    const held = ({ memory }: typeof full, storage: string): number => memory.classes.find((entry) => entry.storage === storage)!.bytes;
    expect(held(low, 'parameter') / held(full, 'parameter')).toBeLessThan(0.51);
    expect(held(low, 'activation') / held(full, 'activation')).toBeLessThan(0.75);
  });

  it('cannot change when a run is resumed', async () => {
    await expect(resume(join(folder, 'bf16-parts'), { bf16: false }).result).rejects.toMatchObject({ code: 'E_CONFIG', where: 'bf16' });
    await expect(resume(join(folder, 'bf16-parts'), { fp16: true }).result).rejects.toMatchObject({ code: 'E_CONFIG', where: 'fp16' });
  });
});

describe('fp16', () => {
  let run: Awaited<ReturnType<typeof interrupted>>;
  beforeAll(async () => {
    run = await interrupted('fp16', { fp16: true });
  });

  it('learns, with losses near those of f32 that do not show the loss scale', async () => {
    const losses = lossesOf(run.whole);
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
    const plain = stepsOf(await collectEvents(train(config('f32'))));
    const [first] = stepsOf(run.whole);
    expect(Math.abs(first!.loss / plain[0]!.loss - 1)).toBeLessThan(1e-3);
    expect(plain.every((event) => event.lossScale === undefined && event.skipped === undefined)).toBe(true);
    const applied = stepsOf(run.whole).find(({ skipped }) => skipped === undefined)!;
    expect(Math.abs(applied.gradientNorm! / plain[applied.step - 1]!.gradientNorm! - 1)).toBeLessThan(0.02);
  });

  it('trains stories260K', async () => {
    const losses = lossesOf(await collectEvents(train(config('stories', { model: sharedPath('models/stories260K'), fp16: true, learning_rate: 1e-3 }))));
    expect(losses[0]!).toBeLessThan(3);
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
  });

  it('resumes bit for bit, loss scale included', () => {
    expectSameRun('fp16', run);
  });

  it('refuses bf16 beside it, and takes bf16 weights', async () => {
    await expect(train(config('both', { fp16: true, bf16: true })).result).rejects.toMatchObject({ code: 'E_CONFIG', where: 'bf16, fp16' });
    await expect(plan(config('mixed', { fp16: true, bf16_weights: true }))).resolves.toMatchObject({ plan: { precision: { activations: 'f16', weights: 'bf16' } } });
  });
});

describe('gradients that overflow', () => {
  /** A run whose checkpoint of step 2 says that the loss scale is so large. */
  async function atScale(name: string, scale: number): Promise<string> {
    const stop = new AbortController();
    await collectEvents(train(config(name, { fp16: true, save_steps: 2, max_steps: 8 }), { signal: stop.signal }), (event) => {
      if (event.kind === 'step' && event.step === 2) stop.abort();
    });
    const checkpoint = join(folder, name, 'checkpoint-2');
    const edit = (file: string, change: (json: Readonly<Record<string, unknown>>) => unknown): void => {
      const path = join(checkpoint, file);
      writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>)));
    };
    edit('trainer_state.json', (json) => ({ ...json, loss_scale: { scale, goodSteps: 1999, skipped: 0 } }));
    const content = readFileSync(join(checkpoint, 'trainer_state.json'));
    edit('checksums.json', (json) => ({
      ...json, files: { ...(json['files'] as object), 'trainer_state.json': { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') } },
    }));
    return join(folder, name);
  }

  it('skip the update: weights, state and the step of the optimizer stay; the scale is halved and the data go on', async () => {
    const path = await atScale('skipping', 2 ** 40);
    cpSync(join(path, 'checkpoint-2'), join(folder, 'before'), { recursive: true });
    const list = await collectEvents(resume(path, { max_steps: 4, save_steps: 1, save_total_limit: 9, logging_steps: 100 }));
    const steps = stepsOf(list);
    // All of them are reported although logging_steps is far.
    expect(steps.map(({ step, lossScale, skipped, gradientNorm }) => ({ step, lossScale, skipped, gradientNorm }))).toEqual([
      { step: 3, lossScale: 2 ** 40, skipped: true, gradientNorm: null }, { step: 4, lossScale: 2 ** 39, skipped: true, gradientNorm: null },
    ]);
    expect(steps.every(({ loss }) => Number.isFinite(loss))).toBe(true);
    for (const file of ['model.safetensors', 'optimizer.safetensors']) {
      expect(bytes('skipping', `checkpoint-4/${file}`).equals(readFileSync(join(folder, 'before', file))), file).toBe(true);
    }
    const state = JSON.parse(bytes('skipping', 'checkpoint-4/trainer_state.json').toString()) as Record<string, unknown>;
    expect(state).toMatchObject({ global_step: 4, loss_scale: { scale: 2 ** 38, goodSteps: 0, skipped: 2 } });
    const before = JSON.parse(readFileSync(join(folder, 'before', 'trainer_state.json'), 'utf8')) as Record<string, unknown>;
    expect(state['cursor']).not.toEqual(before['cursor']);
    expect((state['log_history'] as readonly object[]).at(-1)).not.toHaveProperty('grad_norm');
  });

  it('go on until the scale fits, and double it after 2000 good updates', async () => {
    const list = stepsOf(await collectEvents(resume(await atScale('growing', 1024), { max_steps: 4 })));
    expect(list.map(({ lossScale, skipped }) => [lossScale, skipped])).toEqual([[1024, undefined], [2048, undefined]]);
  });

  it('end the run when no scale helps, and at once when the loss itself is not finite', async () => {
    // A token that no document has: its logits make the loss large and finite, its weights make gradients that no f16 holds.
    const steep = edited('steep-model', 'model.embed_tokens.weight', 1e30);
    const seen: RunEvent[] = [];
    const run = train(config('steep', { model: steep, fp16: true, max_steps: 40 }));
    await expect(collectEvents(run, (event) => seen.push(event))).rejects.toMatchObject({ code: 'E_NUMERICS', remedy: expect.stringContaining('try --bf16') as unknown });
    expect(stepsOf(seen).map(({ lossScale }) => lossScale)).toEqual(Array.from({ length: 30 }, (_, i) => 2 ** (16 - i)));
    expect(stepsOf(seen).every(({ skipped, loss }) => skipped === true && Number.isFinite(loss))).toBe(true);

    const huge = edited('huge-model', 'model.layers.1.mlp.up_proj.weight', 1e30);
    await expect(train(config('huge', { model: huge, fp16: true })).result).rejects.toMatchObject({
      code: 'E_NUMERICS', message: expect.stringMatching(/^step 1: .* comes from \w+ in layers\.1\.mlp \(forward\)/) as unknown, remedy: expect.stringContaining('try --bf16') as unknown,
    });
  });

  /** The model with the first element of one tensor replaced. */
  function edited(name: string, tensor: string, value: number): string {
    const path = join(folder, name);
    cpSync(small, path, { recursive: true });
    const file = join(path, 'model.safetensors');
    const content = readFileSync(file);
    const data = 8 + Number(content.readBigUInt64LE(0));
    const header = JSON.parse(content.subarray(8, data).toString()) as Record<string, { data_offsets: [number, number] }>;
    content.writeFloatLE(value, data + header[tensor]!.data_offsets[0]);
    writeFileSync(file, content);
    return path;
  }
});

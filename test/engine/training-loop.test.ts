/** What the training loop does besides stepping: best model, early stopping, a run of another length, numbers that are not finite. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadModel, resume, train, type RunConfig } from '../../src/index.ts';
import { WeightFiles } from '../../src/files/weight-files.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { collectEvents } from '../support/run-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const story = readFileSync(sharedPath('datasets/tinystories_sample.txt'), 'utf8').slice(0, 600);
const dataset = join(folder, 'story.jsonl');
writeFileSync(dataset, `${JSON.stringify({ text: story })}\n`);
const other = join(folder, 'other.jsonl');
writeFileSync(other, `${JSON.stringify({ text: readFileSync(sharedPath('datasets/tinyshakespeare.txt'), 'utf8').slice(0, 400) })}\n`);

function config(name: string, changes: Partial<RunConfig> = {}): RunConfig {
  return {
    model: sharedPath('models/stories260K'), dataset, output_dir: join(folder, name), max_length: 128, train_batch_size: 1, max_steps: 8, learning_rate: 1e-3, threads: 2,
    save_steps: 100, ...changes,
  };
}

const checkpoints = (name: string): readonly string[] => readdirSync(join(folder, name)).filter((entry) => entry.startsWith('checkpoint-'));

describe('freeze', () => {
  it('leaves the parameters that match as they were, and trains the others', async () => {
    await train(config('frozen', { freeze: ['model.embed_tokens.*', '*.mlp.*'], weight_decay: 0.1, max_steps: 2 })).result;
    const [before, after] = [sharedPath('models/stories260K'), join(folder, 'frozen', 'model')].map((path) => WeightFiles.open(path));
    for (const name of before!.tensors.keys()) {
      const values: Buffer[][] = [[], []];
      for (const [index, files] of [before!, after!].entries()) await files.readTensor(name, (bytes) => void values[index]!.push(Buffer.from(bytes)));
      const same = Buffer.concat(values[0]!).equals(Buffer.concat(values[1]!));
      expect(same, name).toBe(/embed_tokens|\.mlp\./.test(name));
    }
    before!.close();
    after!.close();
  });

  it('refuses a pattern that matches nothing', async () => {
    await expect(train(config('nothing', { freeze: ['model.layers.9.*'] })).result).rejects.toMatchObject({ code: 'E_CONFIG', where: 'freeze' });
  });
});

describe('evaluation', () => {
  it('finishes with the weights of the best evaluation, whose checkpoint is kept', async () => {
    // Learning one story by heart at a high rate makes another text less likely: the best evaluation is an early one.
    const list = await collectEvents(train(config('best', { eval_dataset: other, eval_steps: 1, learning_rate: 5e-3, load_best_model_at_end: true, save_total_limit: 1 })));
    const evals = list.flatMap((event) => (event.kind === 'eval' ? [event] : []));
    expect(evals).toHaveLength(8);
    const best = evals.reduce((low, event) => (event.loss < low.loss ? event : low));
    expect(best.step).toBeLessThan(8);
    expect(checkpoints('best')).toContain(`checkpoint-${best.step}`);
    expect(readFileSync(join(folder, 'best', 'model', 'model.safetensors')).equals(readFileSync(join(folder, 'best', `checkpoint-${best.step}`, 'model.safetensors')))).toBe(true);
    await using model = await loadModel(join(folder, 'best', 'model'));
    const again = await model.evaluate({ dataset: other, maxLength: 128, batchSize: 1 });
    expect(Math.abs(again.loss / best.loss - 1)).toBeLessThan(1e-6);
  });

  it('stops early after so many evaluations without a lower loss, and says so', async () => {
    const list = await collectEvents(train(config('early', { eval_dataset: other, eval_steps: 1, learning_rate: 5e-3, early_stopping_patience: 2, max_steps: 50 })));
    const steps = list.filter((event) => event.kind === 'step').length;
    expect(steps).toBeLessThan(50);
    expect(list.some((event) => event.kind === 'warning' && /stopped early/.test(event.message))).toBe(true);
    expect(list.at(-1)).toMatchObject({ kind: 'end', reason: 'finished' });
  });
});

describe('a resumed run of another length', () => {
  it('rescales the rest of its schedule and says so', async () => {
    const stop = new AbortController();
    const first = train(config('longer', { max_steps: 10 }), { signal: stop.signal });
    for await (const event of first) if (event.kind === 'step' && event.step === 4) stop.abort();
    const { step } = await first.result;
    const list = await collectEvents(resume(join(folder, 'longer'), { max_steps: 16 }));
    const start = list[0]!;
    expect(start.kind === 'start' ? start.notices.join(' ') : '').toMatch(/16 steps instead of 10/);
    const rates = list.flatMap((event) => (event.kind === 'step' ? [event.learningRate] : []));
    expect(rates).toHaveLength(16 - step);
    // Linear to zero: from where the old curve stood, evenly over what is left.
    rates.forEach((rate, i) => expect(rate).toBeCloseTo(1e-3 * (1 - step / 10) * (1 - i / (16 - step)), 9));
  });
});

describe('numbers that are not finite', () => {
  /** stories260K with one weight of layer 2 replaced. */
  function edited(name: string, value: number): string {
    const path = join(folder, name);
    cpSync(sharedPath('models/stories260K'), path, { recursive: true });
    const file = join(path, 'model.safetensors');
    const bytes = readFileSync(file);
    const data = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, data).toString()) as Record<string, { data_offsets: [number, number] }>;
    bytes.writeFloatLE(value, data + header['model.layers.2.mlp.up_proj.weight']!.data_offsets[0]);
    writeFileSync(file, bytes);
    return path;
  }

  it('name a parameter that was broken from the start', async () => {
    const run = train(config('nan', { model: edited('nan-model', NaN) }));
    await expect(run.result).rejects.toMatchObject({ code: 'E_NUMERICS', message: expect.stringMatching(/step 1.*model\.layers\.2\.mlp\.up_proj\.weight holds NaN/) as unknown });
    expect(checkpoints('nan')).toEqual([]);
  });

  it.each([1, 2])('name step, op and layer where they first appear, with %i rows per micro-batch', async (rows) => {
    const changes = { model: edited(`huge-model-${rows}`, 3e38), packing: false, train_batch_size: 2, per_device_train_batch_size: rows } as const;
    await expect(train(config(`huge-${rows}`, changes)).result).rejects.toMatchObject({
      code: 'E_NUMERICS', message: expect.stringMatching(/the first -?(NaN|Infinity) comes from \w+ in layers\.2\.mlp \(forward\)/) as unknown,
    });
  });
});

/** An interrupted run is the uninterrupted one: the same weights, state and log, bit for bit, wherever it was stopped. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resume, train, type RunConfig, type RunEvent } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { collectEvents } from '../support/run-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function config(name: string, changes: Partial<RunConfig> = {}): RunConfig {
  return {
    model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: join(folder, name),
    max_length: 128, overlong: 'split', train_batch_size: 4, per_device_train_batch_size: 2, max_steps: 12, learning_rate: 1e-3, save_steps: 5, threads: 2, ...changes,
  };
}

const bytes = (run: string, file: string): Buffer => readFileSync(join(folder, run, file));
const lossesOf = (list: readonly RunEvent[]): readonly number[] => list.flatMap((event) => (event.kind === 'step' ? [event.loss] : []));

describe('resume', () => {
  let whole: readonly RunEvent[];
  beforeAll(async () => {
    whole = await collectEvents(train(config('whole')));
  });

  it('learns something to begin with', () => {
    const losses = lossesOf(whole);
    expect(losses).toHaveLength(12);
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);
  });

  it.each([3, 5, 9])('goes on bit for bit after an interruption behind step %i', async (stopAfter) => {
    const name = `stopped-${stopAfter}`;
    const stop = new AbortController();
    const first = await collectEvents(train(config(name), { signal: stop.signal }), (event) => {
      if (event.kind === 'step' && event.step === stopAfter) stop.abort();
    });
    const end = first.at(-1)!;
    expect(end).toMatchObject({ kind: 'end', reason: 'interrupted', modelPath: null });
    expect(existsSync(join(folder, name, 'model'))).toBe(false);
    const second = await collectEvents(resume(join(folder, name)));
    expect([...lossesOf(first), ...lossesOf(second)]).toEqual(lossesOf(whole));
    for (const file of ['model/model.safetensors', 'checkpoint-12/optimizer.safetensors', 'checkpoint-12/model.safetensors']) {
      expect(bytes(name, file).equals(bytes('whole', file)), file).toBe(true);
    }
    const log = (run: string): unknown => (JSON.parse(bytes(run, 'checkpoint-12/trainer_state.json').toString()) as { log_history: unknown }).log_history;
    expect(log(name)).toEqual(log('whole'));
    const steps = bytes(name, 'events.jsonl').toString().trim().split('\n').map((line) => JSON.parse(line) as RunEvent).flatMap((e) => (e.kind === 'step' ? [e.step] : []));
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('goes back to an earlier checkpoint, also when the newest is damaged', async () => {
    const stop = new AbortController();
    await collectEvents(train(config('damaged', { save_total_limit: 3 }), { signal: stop.signal }), (event) => {
      if (event.kind === 'step' && event.step === 11) stop.abort();
    });
    const newest = readdirSync(join(folder, 'damaged')).filter((name) => name.startsWith('checkpoint-')).sort((a, b) => Number(b.slice(11)) - Number(a.slice(11)))[0]!;
    const file = join(folder, 'damaged', newest, 'optimizer.safetensors');
    const content = readFileSync(file);
    content[content.length - 9]! ^= 1;
    writeFileSync(file, content);
    await expect(resume(join(folder, 'damaged')).result).rejects.toMatchObject({ code: 'E_CHECKPOINT', remedy: expect.stringContaining('checkpoint-10') as unknown });
    truncateSync(file, 1000);
    await expect(resume(join(folder, 'damaged')).result).rejects.toMatchObject({ code: 'E_CHECKPOINT' });
    const again = await collectEvents(resume(join(folder, 'damaged'), {}, { checkpoint: 'checkpoint-10' }));
    expect(lossesOf(again)).toEqual(lossesOf(whole).slice(10));
    expect(bytes('damaged', 'model/model.safetensors').equals(bytes('whole', 'model/model.safetensors'))).toBe(true);
  });

  it('writes a checkpoint when asked, after the step under way', async () => {
    const run = train(config('asked', { save_steps: 100 }));
    const path = await run.checkpoint();
    expect(existsSync(join(path, 'checksums.json'))).toBe(true);
    await run.result;
  });

  it('stops and saves when the run is disposed of', async () => {
    {
      await using run = train(config('disposed', { max_steps: 1000 }));
      for await (const event of run) if (event.kind === 'step' && event.step === 2) break;
    }
    expect(readdirSync(join(folder, 'disposed')).some((name) => name.startsWith('checkpoint-'))).toBe(true);
  });

  it('refuses what would change the training, a finished run, and a folder that is no run', async () => {
    await expect(resume(join(folder, 'whole'), { seed: 7 }).result).rejects.toMatchObject({ code: 'E_CONFIG', where: 'seed' });
    await expect(resume(join(folder, 'whole')).result).rejects.toMatchObject({ code: 'E_RUN' });
    await expect(resume(folder).result).rejects.toMatchObject({ code: 'E_RUN' });
    await expect(train(config('whole')).result).rejects.toMatchObject({ code: 'E_RUN' });
    await expect(train({ ...config('misspelt'), learning_rte: 1 } as RunConfig).result).rejects.toMatchObject({ code: 'E_CONFIG' });
    expect(existsSync(join(folder, 'misspelt'))).toBe(false);
  });

  it('finds a model by a relative path from anywhere', async () => {
    const before = process.cwd();
    const stop = new AbortController();
    try {
      process.chdir(dirname(sharedPath('models/stories260K')));
      const run = train(config('elsewhere', { model: 'stories260K', max_steps: 4 }), { signal: stop.signal });
      for await (const event of run) if (event.kind === 'step' && event.step === 2) stop.abort();
      await run.result;
    } finally {
      process.chdir(before);
    }
    expect(await resume(join(folder, 'elsewhere')).result).toMatchObject({ reason: 'finished', step: 4 });
  });

  it('trains further when a finished run gets more steps', async () => {
    await collectEvents(train(config('more', { max_steps: 5, lr_scheduler_type: 'constant' })));
    const result = await resume(join(folder, 'more'), { max_steps: 8 }).result;
    expect(result).toMatchObject({ reason: 'finished', step: 8 });
  });
});

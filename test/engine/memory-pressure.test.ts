/** A run whose memory others take writes a checkpoint, ends, says how much to go on with, and goes on bit for bit. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { resume, train, type RunConfig } from '../../src/index.ts';
import type { MemoryPressure } from '../../src/devices/cpu/memory-pressure.ts';
import type { watchMemory, WatchOptions } from '../../src/train/memory-watch.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { collectEvents } from '../support/run-events.ts';

let machine: MemoryPressure = { kind: 'calm' };
// The watch itself, looking at this machine and often.
vi.mock('../../src/train/memory-watch.ts', async (original) => {
  const actual = await original<{ readonly watchMemory: typeof watchMemory }>();
  return { ...actual, watchMemory: (options: WatchOptions) => actual.watchMemory({ ...options, look: () => machine, lookMs: 5 }) };
});

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function config(name: string): RunConfig {
  return {
    model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: join(folder, name),
    max_length: 128, overlong: 'split', train_batch_size: 4, max_steps: 30, learning_rate: 1e-3, save_steps: 500, threads: 2,
  };
}

it('stops with a checkpoint and goes on from it', async () => {
  const whole = await collectEvents(train(config('whole')));
  const run = train(config('short'));
  const first = await collectEvents(run, (event) => {
    if (event.kind === 'step' && event.step === 3) machine = { kind: 'pressure', reason: 'the machine has 100.0 MiB free of 4.00 GiB', freeBytes: 100 * 2 ** 20 };
  });
  machine = { kind: 'calm' };
  const [warning, checkpoint, end] = first.slice(-3);
  expect(warning).toEqual({ kind: 'warning', message: 'memory is running out: the machine has 100.0 MiB free of 4.00 GiB; the run stops with a checkpoint' });
  expect(end).toMatchObject({ kind: 'end', reason: 'memory-pressure', modelPath: null });
  const result = await run.result;
  expect(checkpoint).toMatchObject({ kind: 'checkpoint', step: result.step });
  expect(result).toMatchObject({ reason: 'memory-pressure', suggestedMemoryBytes: end!.kind === 'end' ? end!.suggestedMemoryBytes : undefined });
  expect(result.step).toBeLessThan(30);
  expect(result.suggestedMemoryBytes! % (64 * 2 ** 20)).toBe(0);
  // Four fifths of what the process held and what was free.
  expect(result.suggestedMemoryBytes!).toBeGreaterThanOrEqual(128 * 2 ** 20);

  await resume(join(folder, 'short')).result;
  const weights = (name: string): Buffer => readFileSync(join(folder, name, 'model', 'model.safetensors'));
  expect(weights('short').equals(weights('whole'))).toBe(true);
  expect(whole.at(-1)).toMatchObject({ reason: 'finished', suggestedMemoryBytes: null, measuredStepMs: expect.any(Number) as unknown });
});

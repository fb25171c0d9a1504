/**
 * The technique matrix: every combination of the techniques trains to the losses that its tiers promise against the plain run, and the
 * number of threads changes no bit.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { train, type RunConfig } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Trained {
  readonly losses: readonly number[];
  readonly weights: Buffer;
}

const done = new Map<string, Promise<Trained>>();
let count = 0;

/** A few steps on rows of 128 tokens. */
function trained(changes: Partial<RunConfig>): Promise<Trained> {
  const key = JSON.stringify(changes);
  const known = done.get(key) ?? (async (): Promise<Trained> => {
    const directory = join(folder, String(count++));
    const run = train({
      model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: directory, overlong: 'split',
      max_length: 128, train_batch_size: 4, max_steps: 4, learning_rate: 1e-4, shuffle: false, threads: 1, ...changes,
    });
    const losses: number[] = [];
    for await (const event of run) if (event.kind === 'step') losses.push(event.loss);
    return { losses, weights: readFileSync(join(directory, 'model', 'model.safetensors')) };
  })();
  done.set(key, known);
  return known;
}

function difference(a: readonly number[], b: readonly number[]): number {
  expect(a).toHaveLength(b.length);
  return Math.max(...a.map((loss, step) => Math.abs(loss - b[step]!) / b[step]!));
}

const OPTIMIZERS: readonly Partial<RunConfig>[] = [{ optim: 'adamw', weight_decay: 0.1 }, { optim: 'sgd', learning_rate: 1e-2 }, { optim: 'sgd', sgd_momentum: 0, learning_rate: 1e-2 }];
const PACKING: readonly Partial<RunConfig>[] = [{ packing: true }, { packing: false }];
const MICRO_BATCHES: readonly Partial<RunConfig>[] = [4, 2, 1, 3].map((rows) => ({ per_device_train_batch_size: rows }));

const name = (changes: Partial<RunConfig>): string => Object.entries(changes).map(([key, value]) => `${key} ${String(value)}`).join(', ');

describe.each(OPTIMIZERS.map((changes) => [name(changes), changes] as const))('%s', (_optimizer, optimizer) => {
  describe.each(PACKING.map((changes) => [name(changes), changes] as const))('%s', (_packing, packing) => {
    it('gives the same bits for every micro-batch', async () => {
      const plain = await trained({ ...optimizer, ...packing, ...MICRO_BATCHES[0] });
      expect(plain.losses.at(-1)!).toBeLessThan(plain.losses[0]!);
      for (const microBatch of MICRO_BATCHES.slice(1)) {
        const other = await trained({ ...optimizer, ...packing, ...microBatch });
        expect(other.losses, name(microBatch)).toEqual(plain.losses);
        expect(other.weights.equals(plain.weights), name(microBatch)).toBe(true);
      }
    });
  });
});

describe('threads', () => {
  it('change no bit', async () => {
    const changes = { optim: 'adamw', weight_decay: 0.1, packing: true, per_device_train_batch_size: 2 } as const;
    const one = await trained(changes);
    for (const threads of [2, 3]) {
      const other = await trained({ ...changes, threads });
      expect(other.losses).toEqual(one.losses);
      expect(other.weights.equals(one.weights)).toBe(true);
    }
  });
});

describe('chunked loss', () => {
  it.each(PACKING.map((changes) => [name(changes), changes] as const))('%s: gives the bits of whole logits for every micro-batch', async (_packing, packing) => {
    const optimizer = { optim: 'adamw', weight_decay: 0.1 } as const;
    const whole = await trained({ ...optimizer, ...packing, ...MICRO_BATCHES[0], chunked_loss: false });
    for (const microBatch of MICRO_BATCHES) {
      for (const changes of [{ chunked_loss: true }, { chunked_loss: false }, {}]) {
        const other = await trained({ ...optimizer, ...packing, ...microBatch, ...changes });
        expect(other.losses, name({ ...microBatch, ...changes })).toEqual(whole.losses);
        expect(other.weights.equals(whole.weights), name({ ...microBatch, ...changes })).toBe(true);
      }
    }
  });
});

describe('packing', () => {
  it('keeps documents apart: whole short documents train to the same losses packed and one per row', async () => {
    // All rows of an epoch in one update, so that both runs see the same documents per step, in another order and summation.
    const sentences = readFileSync(sharedPath('datasets/tinystories_sample.txt'), 'utf8').split('. ').slice(0, 24);
    const dataset = join(folder, 'sentences.jsonl');
    writeFileSync(dataset, sentences.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    const changes = { dataset, train_batch_size: 24, max_length: 128, overlong: 'truncate', optim: 'adamw', max_steps: 20 } as const;
    const packed = await trained({ ...changes, packing: true, per_device_train_batch_size: 2 });
    const apart = await trained({ ...changes, packing: false, per_device_train_batch_size: 8 });
    expect(Math.abs(packed.losses[0]! - apart.losses[0]!) / apart.losses[0]!).toBeLessThan(1e-6);
    expect(difference(packed.losses, apart.losses)).toBeLessThan(1e-5);
  });
});

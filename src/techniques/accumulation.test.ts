import { describe, expect, it } from 'vitest';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { plainPlan } from '../run/training-plan.ts';
import { accumulation } from './accumulation.ts';

const values = (changes: Partial<RunConfig>, rowsPerEpoch = 1000): readonly string[] =>
  accumulation.values({ settings: resolveSettings({ model: 'm', dataset: 'd.jsonl', ...changes }), maxLength: 512, bucketLengths: [], rowsPerEpoch })
    .map(({ rowsPerUpdate, microBatchSize, accumulationSteps }) => `${rowsPerUpdate} = ${microBatchSize} × ${accumulationSteps}`);

describe('gradient accumulation', () => {
  it('offers every even cut of the rows of an update, the whole first', () => {
    expect(values({})).toEqual(['8 = 8 × 1', '8 = 4 × 2', '8 = 2 × 4', '8 = 1 × 8']);
    expect(values({ train_batch_size: 6 })).toEqual(['6 = 6 × 1', '6 = 3 × 2', '6 = 2 × 3', '6 = 1 × 6']);
    expect(values({ train_batch_tokens: 2100 })).toEqual(['4 = 4 × 1', '4 = 2 × 2', '4 = 1 × 4']);
  });

  it('keeps what the user sets, filling the last micro-batch', () => {
    expect(values({ train_batch_size: 8, per_device_train_batch_size: 3 })).toEqual(['8 = 3 × 3']);
    expect(values({ train_batch_size: 8, gradient_accumulation_steps: 4 })).toEqual(['8 = 2 × 4']);
    expect(values({ per_device_train_batch_size: 2, gradient_accumulation_steps: 5 })).toEqual(['10 = 2 × 5']);
  });

  it('takes no more rows at a time than an epoch has', () => {
    expect(values({}, 5)).toEqual(['8 = 5 × 2', '8 = 4 × 2', '8 = 2 × 4', '8 = 1 × 8']);
    expect(values({}, 8)[0]).toBe('8 = 8 × 1');
  });

  it('is bitwise for rows of 128 tokens and more, reordered for shorter ones', () => {
    const tier = (...rowLengths: number[]): string => {
      const batch = { rowsPerUpdate: 4, microBatchSize: 2, accumulationSteps: 2 };
      const packing = { packed: false, rowLengths };
      return accumulation.numerics(batch, { ...plainPlan({ rowLength: 1 }), packing, batch });
    };
    expect([tier(128), tier(512, 1024), tier(127), tier(64, 512)]).toEqual(['bitwise', 'bitwise', 'reordered', 'reordered']);
  });

  it('refuses fewer tokens per update than a row has', () => {
    expect(() => values({ train_batch_tokens: 511 })).toThrowError(expect.objectContaining({ code: 'E_CONFIG', where: 'train_batch_tokens' }) as Error);
  });
});

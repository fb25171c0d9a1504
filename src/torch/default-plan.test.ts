import { describe, expect, it } from 'vitest';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { torchPlanContradiction } from '../run/torch-plan-schema.ts';
import { defaultTorchPlan, revisedTorchPlan, type TorchPlanRequest } from './default-plan.ts';

function request(config: Partial<RunConfig>, worldSize = 1): TorchPlanRequest {
  const settings = resolveSettings({ model: 'm', dataset: 'd.jsonl', ...config });
  return { settings, model: { layers: 4, vocabularySize: 512 }, maxLength: 128, bucketLengths: [64, 128], frozen: [], worldSize, ranksPerNode: worldSize };
}
const plan = (config: Partial<RunConfig>, worldSize = 1) => defaultTorchPlan(request(config, worldSize));

describe('the plan that settings make', () => {
  it('shares the rows of an update among the ranks', () => {
    expect(plan({}).batch).toEqual({ rowsPerUpdate: 8, microBatchSize: 8, accumulationSteps: 1 });
    expect(plan({}, 4).batch).toEqual({ rowsPerUpdate: 8, microBatchSize: 2, accumulationSteps: 1 });
    expect(plan({ train_batch_size: 64, per_device_train_batch_size: 2 }, 8).batch).toEqual({ rowsPerUpdate: 64, microBatchSize: 2, accumulationSteps: 4 });
    expect(plan({ per_device_train_batch_size: 2, gradient_accumulation_steps: 4 }, 8).batch).toEqual({ rowsPerUpdate: 64, microBatchSize: 2, accumulationSteps: 4 });
    expect(plan({ train_batch_size: 7 }, 2).batch).toEqual({ rowsPerUpdate: 7, microBatchSize: 4, accumulationSteps: 1 });
  });

  it('has the techniques that the settings name', () => {
    expect(plan({ gradient_checkpointing: true, chunked_loss: true, bf16: true, optim: 'lion', packing: false }, 2)).toMatchObject({
      recompute: { kind: 'layers', layers: 4 }, loss: { kind: 'chunked' }, precision: 'bf16', optimizer: { kind: 'lion' }, sharding: 'fsdp', packing: { packed: false, rowLengths: [64, 128] },
    });
    expect(plan({ sharding: 'ddp' }).sharding).toBe('none');
    expect(torchPlanContradiction(plan({}, 4))).toBeUndefined();
    expect(() => plan({ sharding: 'none' }, 2)).toThrow('there are 2 ranks');
  });

  it('keeps the rows of an update on another number of ranks', () => {
    const stored = { ...plan({ train_batch_size: 16 }, 8), expected: { peakBytes: 1, stepMs: null } };
    expect(revisedTorchPlan(stored, {}, request({}, 8))).toBe(stored);
    const { expected, ...fewer } = revisedTorchPlan(stored, { nproc_per_node: 1 }, request({ nproc_per_node: 1 }));
    expect(expected).toBeUndefined();
    expect(fewer).toMatchObject({ worldSize: 1, sharding: 'none', batch: { rowsPerUpdate: 16, microBatchSize: 16, accumulationSteps: 1 } });
    expect(revisedTorchPlan(stored, { per_device_train_batch_size: 1 }, request({ per_device_train_batch_size: 1 }, 8)).batch).toEqual({ rowsPerUpdate: 16, microBatchSize: 1, accumulationSteps: 2 });
  });
});

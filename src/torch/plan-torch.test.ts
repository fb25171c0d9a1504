/** The plan of a run on PyTorch: it fits, it keeps the rows, more memory is never slower, and it says what would do when nothing fits. */

import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { parseDevice } from './device-spec.ts';
import { planTorch, type PlannedTorch } from './plan-torch.ts';
import { findPublicModel } from './public-models.ts';
import { rowsOf } from './torch-rows.ts';

interface Ask extends Partial<RunConfig> {
  readonly name?: string;
  readonly on: string;
  readonly gib?: number;
}

function planned({ name = 'Llama-3.1-8B', on, gib, ...config }: Ask): PlannedTorch {
  const device = parseDevice(on);
  const { per_device_train_batch_size: _micro, gradient_accumulation_steps: _steps, ...rest } = config;
  const rowLength = config.max_length ?? 1024;
  return planTorch({
    settings: resolveSettings({ model: name, dataset: '', ...rest }), shape: findPublicModel(name)!.shape, device, rowLength, bucketLengths: [rowLength], ...rowsOf(config, device.worldSize, rowLength),
    memoryBytes: gib === undefined ? device.memoryBytes : gib * GIB, frozen: [], frozenParameters: 0, ...(config.cpu_offload === undefined ? {} : { pinned: { cpuOffload: config.cpu_offload } }),
  });
}

function refusal(run: () => unknown): FulltuneError {
  try {
    run();
  } catch (error) {
    if (error instanceof FulltuneError) return error;
  }
  throw new Error('nothing was refused');
}

const H100S = { on: '8xH100-80GB', train_batch_size: 64, max_length: 8192, bf16: true } as const;

describe('a plan for GPUs', () => {
  it('fits 8B on eight H100 in bf16, sharded, with the rows that were asked for', () => {
    const { fits, plan, neededBytes, memory } = planned(H100S);
    expect(fits).toBe(true);
    expect(neededBytes).toBeLessThanOrEqual(79.1 * GIB);
    expect(plan).toMatchObject({ engine: 'torch', worldSize: 8, ranksPerNode: 8, precision: 'bf16', optimizer: { kind: 'adamw' }, update: 'after-backward', maxGradNorm: 1 });
    expect(['zero2', 'fsdp']).toContain(plan.sharding);
    expect(plan.expected?.peakBytes).toBe(Math.round(memory.deviceBytes));
  });

  it('always makes up the rows of an update', () => {
    for (const [on, rows] of [['8xH100-80GB', 64], ['8xH100-80GB', 24], ['a100', 12], ['4xa100', 7], ['8xH100-80GB', 5]] as const) {
      const { batch, worldSize } = planned({ on, train_batch_size: rows, bf16: true }).plan;
      const slots = batch.microBatchSize * batch.accumulationSteps * worldSize;
      expect(batch.rowsPerUpdate).toBe(rows);
      expect(slots).toBe(worldSize * Math.ceil(rows / worldSize));
    }
  });

  it('is never predicted slower with more memory, and needs no more than it is given', () => {
    let before = Infinity;
    for (let gib = 18; gib <= 160; gib *= 1.15) {
      const { fits, time, neededBytes } = planned({ ...H100S, gib });
      if (!fits) continue;
      expect(neededBytes).toBeLessThanOrEqual(gib * GIB);
      expect(time.updateMs).toBeLessThanOrEqual(before);
      before = time.updateMs;
    }
    expect(before).toBeLessThan(Infinity);
  });

  it('counts classes that sum to what the device holds, at the largest phase', () => {
    const { memory } = planned(H100S);
    expect(Object.values(memory.classes).reduce((sum, bytes) => sum + bytes, 0)).toBeCloseTo(memory.deviceBytes, -2);
    expect(memory.allocatedBytes).toBe(Math.max(...memory.phases.map(({ allocatedBytes }) => allocatedBytes)));
  });

  it('keeps the numbers unless it may not, and says what would be better', () => {
    const kept = planned({ name: 'Qwen2.5-0.5B', on: 'rtx-4090' });
    expect(kept.fits).toBe(true);
    expect(kept.plan.precision).toBe('f32');
    const bf16 = kept.better.find(({ change }) => change === '--bf16')!;
    expect(bf16.fits).toBe(true);
    expect(bf16.stepMs).toBeLessThan(kept.time.updateMs);
    expect(planned({ name: 'Qwen2.5-0.5B', on: 'rtx-4090', allow: ['all'] }).plan.precision).toBe('f32');
    const large = { name: 'Qwen2.5-1.5B', on: 'rtx-4090', cpu_offload: false } as const;
    expect(planned(large).fits).toBe(false);
    expect(planned({ ...large, allow: ['all'] })).toMatchObject({ fits: true, plan: { precision: 'f32', optimizer: { kind: 'adamw_8bit' } } });
    expect(planned({ ...large, allow: ['bf16_weights'] })).toMatchObject({ fits: true, plan: { precision: 'bf16-weights', optimizer: { kind: 'adamw' } } });
  });

  it('takes four-bit AdamW where it is named, or allowed and nothing else fits', () => {
    const large = { name: 'Qwen2.5-1.5B', on: 'rtx-4090', cpu_offload: false } as const;
    expect(planned({ ...large, allow: ['adamw_4bit'] })).toMatchObject({ fits: true, plan: { precision: 'f32', optimizer: { kind: 'adamw_4bit' } } });
    expect(planned({ name: 'Qwen2.5-0.5B', on: 'rtx-4090', allow: ['adamw_4bit'] }).plan.optimizer.kind).toBe('adamw');
    const named = planned({ ...large, optim: 'adamw_4bit' });
    expect(named.memory.classes['optimizer state']).toBeLessThan(planned({ ...large, optim: 'adamw_8bit', optim_8bit_embeddings: true }).memory.classes['optimizer state']);
    expect(named.techniques.find(({ key }) => key === 'optimizer')?.value).toContain('4-bit moments');
    expect(planned({ name: 'Qwen2.5-7B', on: '4xrtx-4090', optim: 'adamw_4bit', bf16: true }).plan.sharding).toBe('fsdp');
  });

  it('proposes nothing that the worker refuses', () => {
    for (const on of ['4xrtx-4090', 'rtx-4090']) {
      const { plan } = planned({ name: 'Qwen2.5-7B', on, allow: ['all'], optim: 'adamw_8bit' });
      expect(plan.sharding === 'fsdp' || !plan.cpuOffload).toBe(true);
    }
    expect(refusal(() => planned({ on: '2xa100', optim: 'adafactor', cpu_offload: true })).message).toContain('whole rows and columns');
    expect(planned({ on: '2xh200', optim: 'adafactor', bf16: true }).plan.sharding).toBe('ddp');
  });

  it('takes no bf16 where there are no tensor cores for it', () => {
    expect(planned({ name: 'Qwen2.5-0.5B', on: 't4', allow: ['all'] }).better.map(({ change }) => change)).toContain('--fp16');
  });

  it('names the smallest memory that would do, and it does', () => {
    const small = planned({ on: 'rtx-3060', cpu_offload: false });
    expect(small.fits).toBe(false);
    expect(small.remedies.join('\n')).toContain('--allow all would need');
    const gib = Number(/A device with ([\d.]+) GiB/.exec(small.remedies.join('\n'))?.[1]);
    expect(planned({ on: 'rtx-3060', cpu_offload: false, gib }).fits).toBe(true);
    expect(planned({ on: 'rtx-3060', cpu_offload: false, gib: gib - 0.3 }).fits).toBe(false);
  });

  it('has a frontier on which no plan is smaller and faster than another', () => {
    const { frontier } = planned(H100S);
    expect(frontier.length).toBeGreaterThan(3);
    expect(frontier.filter(({ chosen }) => chosen)).toHaveLength(1);
    const others = frontier.filter(({ chosen }) => !chosen);
    for (const a of others) expect(others.some((b) => b.forecastBytes < a.forecastBytes && b.stepMs < a.stepMs)).toBe(false);
  });

  it('explains every technique, with the figure of what was not taken', () => {
    const { techniques } = planned(H100S);
    expect(techniques.map(({ key }) => key)).toEqual(['micro-batch', 'sharding', 'offload', 'recompute', 'precision', 'loss', 'optimizer', 'update', 'attention']);
    expect(techniques.find(({ key }) => key === 'sharding')?.reason).toMatch(/would (need|take)/);
  });

  it('keeps what the settings fix and refuses what PyTorch runs do not have', () => {
    const { plan } = planned({ ...H100S, per_device_train_batch_size: 2, gradient_checkpointing: true, chunked_loss: true });
    expect(plan).toMatchObject({ batch: { microBatchSize: 2, accumulationSteps: 4 }, recompute: { kind: 'layers', layers: 32 }, loss: { kind: 'chunked' } });
    expect(refusal(() => planned({ ...H100S, optimizer_in_backward: true })).message).toContain('one device and no clipping');
    expect(refusal(() => planned({ ...H100S, offload_activation_layers: 2 })).code).toBe('E_CONFIG');
    expect(refusal(() => rowsOf({ train_batch_size: 64, per_device_train_batch_size: 2, gradient_accumulation_steps: 2 }, 8, 1024)).message).toContain('= 32 rows per update');
    expect(rowsOf({ per_device_train_batch_size: 2, gradient_accumulation_steps: 2 }, 8, 1024).rowsPerUpdate).toBe(32);
    expect(planned({ name: 'gpt2', on: 'rtx-4090', optimizer_in_backward: true, max_grad_norm: 0 }).plan.update).toBe('in-backward');
  });
});

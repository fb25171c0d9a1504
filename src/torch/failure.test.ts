import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import { defaultTorchPlan } from './default-plan.ts';
import { smallerChange, workerFailure, type FailureFacts } from './failure.ts';
import type { RankFailure, RankSign } from './signs.ts';

const settings = resolveSettings({ model: 'm', dataset: 'd.jsonl' });
const plan = { ...defaultTorchPlan({ settings, model: { layers: 4, vocabularySize: 512 }, maxLength: 128, bucketLengths: [128], frozen: [], worldSize: 2, ranksPerNode: 2 }), expected: { peakBytes: 70 * GIB, stepMs: null } };
const sign = (rank: number, at: number, failure?: RankFailure): RankSign => ({
  rank, pid: 100 + rank, host: 'node', phase: failure === undefined ? 'training' : 'failed', step: 7, at, ...(failure === undefined ? {} : { failure }),
});
const facts: FailureFacts = {
  plan, runDirectory: 'runs/a', checkpoint: { step: 6, path: 'runs/a/checkpoint-6' }, signs: [sign(0, 2), sign(1, 1)], exit: { code: 1, signal: null }, silentSeconds: undefined, logPath: 'runs/a/torch/worker.log',
};

describe('a failed worker', () => {
  it('that died is told with its rank, exit code and checkpoint', () => {
    const { code, message, remedy } = workerFailure({ ...facts, exit: { code: null, signal: 'SIGKILL' } });
    expect(code).toBe('E_RANK');
    expect(message).toContain('rank 0 (process 100 on node), rank 1 (process 101 on node) died at step 7: the worker was ended by SIGKILL');
    expect(remedy).toBe('The last complete checkpoint is checkpoint-6; from there: fulltune resume runs/a');
  });

  it('that died is not mistaken for one that lost its connection', () => {
    const closed: RankFailure = { kind: 'bug', message: 'RuntimeError: [../pair.cc:534] Connection closed by peer [127.0.0.1]:1' };
    expect(workerFailure({ ...facts, signs: [sign(0, 2, closed), sign(1, 1)] }).message).toContain('rank 1 (process 101 on node) died at step 7');
    expect(workerFailure({ ...facts, signs: [sign(0, 2, { kind: 'bug', message: 'TypeError: x' }), sign(1, 1)] }).message).toBe('rank 0 failed at step 7: TypeError: x');
  });

  it('that hung is told with the last sign of every rank, the oldest first', () => {
    expect(workerFailure({ ...facts, signs: [sign(0, 2500), sign(1, 1000)], silentSeconds: 60.4 }).message).toBe(
      'the ranks gave no sign of life for 60 s, and the run was ended; the last signs: rank 1 (process 101 on node) training, step 7, 1.5 s before the last of them; rank 0 (process 100 on node) training, step 7',
    );
  });

  it('that ran out of memory is told with both peaks and what to change, whatever the other ranks say', () => {
    const lost: RankFailure = { kind: 'bug', message: 'connection lost' };
    const out: RankFailure = { kind: 'out-of-memory', message: 'x', allocatedBytes: 78 * GIB, reservedBytes: 79 * GIB, residentBytes: GIB, totalBytes: 80 * GIB };
    const { code, message, remedy } = workerFailure({ ...facts, signs: [sign(0, 1, lost), sign(1, 2, out)] });
    expect(code).toBe('E_BUDGET');
    expect(message).toBe('rank 1 ran out of memory in step 7: it had allocated 78.00 GiB and reserved 79.00 GiB at the peak of a device with 80.00 GiB; planned was a peak of 70.00 GiB');
    expect(remedy).toContain('fulltune resume runs/a --per-device-train-batch-size 2');
  });

  it('has one change after the other that makes it smaller', () => {
    const small = { ...plan, batch: { ...plan.batch, microBatchSize: 1 } };
    expect(smallerChange(small).flags).toBe('--chunked-loss');
    expect(smallerChange({ ...small, loss: { kind: 'chunked', tokens: 1024 } }).flags).toBe('--gradient-checkpointing');
    expect(smallerChange({ ...small, loss: { kind: 'chunked', tokens: 1024 }, recompute: { kind: 'layers', layers: 4 } }).flags).toBe('--cpu-offload');
    const smallest = { ...small, loss: { kind: 'chunked', tokens: 1024 }, recompute: { kind: 'layers', layers: 4 }, cpuOffload: true, precision: 'bf16' } as const;
    const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };
    expect([smallest.optimizer, { kind: 'adamw_8bit', ...adam, embeddings: false } as const, { kind: 'adamw_4bit', ...adam } as const].map((optimizer) => smallerChange({ ...smallest, optimizer }).flags))
      .toEqual(['--optim adamw_8bit', '--optim adamw_4bit', '--max-length N']);
  });
});

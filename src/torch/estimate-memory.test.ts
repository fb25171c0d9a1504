/** Predicted against measured memory, for every public measurement. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import { estimateMemory, MEMORY_ERROR } from './estimate-memory.ts';
import { caseOfRow, type MeasuredRow } from './measured-row.ts';
import { countShape } from './model-shape.ts';
import { findPublicModel } from './public-models.ts';
import { MEASURED_MEMORY } from './testing/measured-memory.ts';
import type { TorchCase } from './torch-case.ts';

const rows = MEASURED_MEMORY.map((row) => {
  const estimate = estimateMemory(row.given);
  const predictedGiB = estimate[row.metric] / GIB;
  return { ...row, estimate, predictedGiB, ratio: predictedGiB / row.measuredGiB };
});

describe('optimizer state', () => {
  const shape = findPublicModel('Qwen2.5-0.5B')!.shape;
  const { total, embedding } = countShape(shape);
  const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };
  const stateBytes = (optimizer: TorchCase['optimizer'], changes: Partial<TorchCase> = {}): number => estimateMemory({
    shape, rowLength: 512, microBatchSize: 1, accumulationSteps: 1, worldSize: 1, ranksPerNode: 1, precision: 'f32', attention: 'fused', recompute: { kind: 'none' }, loss: { kind: 'whole' },
    optimizer, optimizerStep: 'loop', update: 'after-backward', sharding: 'none', cpuOffload: false, compiled: false, frozenParameters: 0, gradientsStay: false, ...changes,
  }).classes['optimizer state'];

  it('is 8 bytes per parameter of AdamW, 2 and a scale per 256 with eight bits, 1 and a scale per 128 with four', () => {
    expect(stateBytes({ kind: 'adamw', ...adam })).toBe(8 * total);
    expect(stateBytes({ kind: 'adamw_8bit', ...adam, embeddings: true })).toBe(2 * (1 + 4 / 256) * total);
    expect(stateBytes({ kind: 'adamw_8bit', ...adam, embeddings: false })).toBe(2 * (1 + 4 / 256) * (total - embedding) + 8 * embedding);
    expect(stateBytes({ kind: 'adamw_4bit', ...adam })).toBe(2 * (1 / 2 + 4 / 128) * total);
  });

  it('with four bits does not depend on the type of the weights, and is sharded with them', () => {
    const alone = stateBytes({ kind: 'adamw_4bit', ...adam });
    expect(stateBytes({ kind: 'adamw_4bit', ...adam }, { precision: 'bf16-weights' })).toBe(alone);
    expect(stateBytes({ kind: 'adamw_4bit', ...adam }, { worldSize: 4, ranksPerNode: 4, sharding: 'fsdp' })).toBe(alone / 4);
  });
});

describe('memory', () => {
  it('is within the error bar of every complete public measurement', () => {
    const table = rows.map(({ id, what, metric, predictedGiB, measuredGiB, ratio, missing }) => [id, what, metric.replace('Bytes', ''), predictedGiB.toFixed(2), measuredGiB.toFixed(2), ratio.toFixed(3), missing === null ? '' : `not judged: ${missing}`]);
    console.log(formatTable(table, { header: ['row', 'run', 'metric', 'predicted GiB', 'measured', 'ratio', ''], align: ['left', 'left', 'left', 'right', 'right', 'right', 'left'] }));
    const judged = rows.filter(({ missing }) => missing === null);
    expect(judged.length).toBeGreaterThanOrEqual(14);
    expect(judged.filter(({ ratio }) => Math.abs(ratio - 1) > MEMORY_ERROR).map(({ id, ratio }) => `${id} ${ratio.toFixed(3)}`)).toEqual([]);
  });

  // Rows of worker/measure.py on a CPU, where torch's MemTracker counts live tensors; no cuBLAS there, so its workspace is taken off.
  it('is within the error bar of what was measured on a CPU', () => {
    const lines = readFileSync(new URL('../../bench/results/torch-memory-cpu.jsonl', import.meta.url), 'utf8').trim().split('\n');
    const ratios = lines.map((line) => {
      const { id, given, measured } = caseOfRow(JSON.parse(line) as MeasuredRow)!;
      const { allocatedBytes, classes } = estimateMemory(given);
      return { id, ratio: (allocatedBytes - classes.workspace) / measured.allocatedBytes! };
    });
    expect(ratios.length).toBeGreaterThanOrEqual(25);
    expect(ratios.filter(({ ratio }) => Math.abs(ratio - 1) > MEMORY_ERROR)).toEqual([]);
  });
});

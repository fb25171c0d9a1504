import { describe, expect, it } from 'vitest';
import type { PlanResult } from '../index.ts';
import { PLAIN } from './colour.ts';
import { batchText, renderPlan } from './memory-view.ts';

const MIB = 1024 * 1024;

export const FITS: PlanResult = {
  kind: 'fits',
  plan: {
    version: 1, packing: { packed: true, rowLengths: [512] }, batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 },
    optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 }, maxGradNorm: 1, frozen: [],
  },
  memory: {
    arenaBytes: 100 * MIB, peakLiveBytes: 98 * MIB, fragmentation: 0.02, processBytes: 144 * MIB, forecastBytes: 244 * MIB,
    classes: [{ storage: 'parameter', bytes: 40 * MIB }, { storage: 'activation', bytes: 58 * MIB }],
    groups: [
      { name: 'embedding', bytes: 10 * MIB, byClass: { parameter: 10 * MIB } },
      { name: 'layers.0 … layers.1 (each)', bytes: 44 * MIB, byClass: { parameter: 15 * MIB, activation: 29 * MIB } },
    ],
    peak: { program: 'micro-step', node: 'layers.1.mlp/matmul_nt (backward)' },
    programs: [{ name: 'micro-step', instructions: 1234, transientBytes: 60 * MIB, peakLiveBytes: 98 * MIB }],
  },
  freeBytes: 1024 * MIB,
  choices: [{ key: 'max_length', value: '512', reason: 'the longest document has 497 tokens' }],
  notices: ['dropout is not applied'],
  techniques: ['packing: rows of 512 tokens'],
  model: { name: 'small', type: 'llama', parameters: 1_234_567 },
  data: { rows: 1000, documents: 1000, tokens: 20_000, trainedTokens: 9000, cut: 0, cutTokens: 0, split: 0, untrained: 0, longest: 497, maxLength: 512, rowsPerEpoch: 40 },
  totalSteps: 15,
};

describe('renderPlan', () => {
  it('shows what the run is, who holds the memory, and that it fits', () => {
    expect(renderPlan(FITS, PLAIN)).toBe(`\
model  small (llama), 1,234,567 parameters
data   1,000 documents, 20,000 tokens, 45 % trained
rows   40 per epoch, up to 512 tokens
batch  8 rows per update = micro-batch 4 × accumulation 2
steps  15

  packing: rows of 512 tokens

chosen
  max_length  512  the longest document has 497 tokens

note  dropout is not applied

memory at the peak: micro-step, layers.1.mlp/matmul_nt (backward)
  parameter   40.0 MiB  41 %
  activation  58.0 MiB  59 %
  live        98.0 MiB

by layer
                                 bytes  parameter  activation
  ──────────────────────────  ────────  ─────────  ──────────
  embedding                   10.0 MiB   10.0 MiB           ·
  layers.0 … layers.1 (each)  44.0 MiB   15.0 MiB    29.0 MiB

by program
  program     instructions  transient  live at its peak
  ──────────  ────────────  ─────────  ────────────────
  micro-step         1,234   60.0 MiB          98.0 MiB

arena     100.0 MiB  2.0 % lost between live ranges
process   144.0 MiB  at most: runtime, threads, staging
forecast  244.0 MiB

FITS: 244.0 MiB needed, 1.00 GiB free
`);
  });

  it('says by how much it does not fit and what would help', () => {
    const { kind: _fits, ...facts } = FITS as Extract<PlanResult, { kind: 'fits' }>;
    const text = renderPlan({ kind: 'too-small', neededBytes: 244 * MIB, remedies: ['Try --max-length 256.', 'Freeze parameters.'], ...facts, freeBytes: 200 * MIB }, PLAIN);
    expect(text).toContain('DOES NOT FIT: 244.0 MiB needed, 200.0 MiB free');
    expect(text.endsWith('  Try --max-length 256.\n  Freeze parameters.\n')).toBe(true);
  });
});

describe('batchText', () => {
  it('tells of rows that only fill the last micro-batch', () => {
    expect(batchText({ rowsPerUpdate: 7, microBatchSize: 4, accumulationSteps: 2 })).toBe('7 rows per update = micro-batch 4 × accumulation 2 − 1 ignored');
    expect(batchText({ rowsPerUpdate: 1, microBatchSize: 1, accumulationSteps: 1 })).toBe('1 row per update = micro-batch 1 × accumulation 1');
  });
});

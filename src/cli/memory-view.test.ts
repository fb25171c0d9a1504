import { describe, expect, it } from 'vitest';
import { PLAIN } from './colour.ts';
import { batchText, renderPlan } from './memory-view.ts';
import { FITS } from './testing/sample-plan.ts';

const MIB = 1024 * 1024;

describe('renderPlan', () => {
  it('shows what the run is, who holds the memory, and that it fits', () => {
    expect(renderPlan(FITS, PLAIN)).toBe(`\
model  small (llama), 1,234,567 parameters
data   1,000 documents, 20,000 tokens, 45 % trained
rows   40 per epoch, up to 512 tokens
batch  8 rows per update = micro-batch 4 × accumulation 2
speed  1.52 s per update, 2,695 tokens/s, 15 updates in 23 s (predicted)

plan
  packing  rows of 512 tokens  as the settings say

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

memory against time
        memory  update  tokens/s  numbers
  ─  ─────────  ──────  ────────  ───────  ─────────────────
     300.0 MiB  1.40 s     2,925  kept     micro-batch 8
  →  244.0 MiB  1.52 s     2,695  kept     micro-batch 4 × 2

FITS: 244.0 MiB of 800.0 MiB (1.00 GiB are free)
`);
  });

  it('says by how much it does not fit and what would help', () => {
    const text = renderPlan({ ...FITS, kind: 'too-small', neededBytes: 244 * MIB, budgetBytes: 160 * MIB, freeBytes: 200 * MIB, remedies: ['Try --max-length 256.', 'Freeze parameters.'] }, PLAIN);
    expect(text).toContain('DOES NOT FIT: the smallest plan needs 244.0 MiB, and there are 160.0 MiB (200.0 MiB are free)');
    expect(text.endsWith('  Try --max-length 256.\n  Freeze parameters.\n')).toBe(true);
  });
});

describe('batchText', () => {
  it('tells of rows that only fill the last micro-batch', () => {
    expect(batchText({ rowsPerUpdate: 7, microBatchSize: 4, accumulationSteps: 2 })).toBe('7 rows per update = micro-batch 4 × accumulation 2 − 1 ignored');
    expect(batchText({ rowsPerUpdate: 1, microBatchSize: 1, accumulationSteps: 1 })).toBe('1 row per update = micro-batch 1 × accumulation 1');
  });
});

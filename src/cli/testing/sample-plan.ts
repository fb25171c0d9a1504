/** A plan that fits, as `plan()` gives it. */

import type { PlanResult } from '../../index.ts';
import { plainPlan } from '../../run/training-plan.ts';

const MIB = 1024 * 1024;

export const FITS: PlanResult = {
  kind: 'fits',
  plan: {
    ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 },
    optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 },
  },
  memory: {
    arenaBytes: 100 * MIB, peakLiveBytes: 98 * MIB, fragmentation: 0.02, processBytes: 144 * MIB, fileBytes: 0, forecastBytes: 244 * MIB,
    classes: [{ storage: 'parameter', bytes: 40 * MIB }, { storage: 'activation', bytes: 58 * MIB }],
    groups: [
      { name: 'embedding', bytes: 10 * MIB, byClass: { parameter: 10 * MIB } },
      { name: 'layers.0 … layers.1 (each)', bytes: 44 * MIB, byClass: { parameter: 15 * MIB, activation: 29 * MIB } },
    ],
    peak: { program: 'micro-step', node: 'layers.1.mlp/matmul_nt (backward)' },
    programs: [{ name: 'micro-step', instructions: 1234, transientBytes: 60 * MIB, peakLiveBytes: 98 * MIB }],
  },
  freeBytes: 1024 * MIB,
  budgetBytes: 800 * MIB,
  stepMs: 1520,
  tokensPerSecond: 2694.7,
  frontier: [
    { forecastBytes: 300 * MIB, stepMs: 1400, tokensPerSecond: 2925, numerics: 'bitwise', summary: 'micro-batch 8', changes: [], chosen: false },
    { forecastBytes: 244 * MIB, stepMs: 1520, tokensPerSecond: 2694.7, numerics: 'bitwise', summary: 'micro-batch 4 × 2', changes: ['gradient accumulation: micro-batch 4'], chosen: true },
  ],
  choices: [{ key: 'max_length', value: '512', reason: 'the longest document has 497 tokens' }],
  notices: ['dropout is not applied'],
  techniques: [{ key: 'packing', value: 'rows of 512 tokens', reason: 'as the settings say' }],
  model: { name: 'small', type: 'llama', parameters: 1_234_567 },
  data: { rows: 1000, documents: 1000, tokens: 20_000, trainedTokens: 9000, cut: 0, cutTokens: 0, split: 0, untrained: 0, longest: 497, maxLength: 512, rowsPerEpoch: 40 },
  totalSteps: 15,
};

/** A run of two steps as events. */

import type { EndEvent, RunEvent, StartEvent, StepEvent } from '../../run/events.ts';

const MIB = 1024 * 1024;

export const START: StartEvent = {
  kind: 'start', runDirectory: 'runs/a b',
  model: { name: 'small', type: 'llama', parameters: 1_234_567, trained: 1_234_000 },
  data: { documents: 1000, tokens: 20_000, trainedTokens: 9000, cut: 3, split: 0, rowsPerEpoch: 40, rowLength: 512 },
  batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 },
  totalSteps: 2, startStep: 0, device: 'cpu (avx2, 2 threads)',
  memory: { arenaBytes: 100 * MIB, peakLiveBytes: 96 * MIB, atPeak: { activation: 72 * MIB, parameter: 24 * MIB }, forecastBytes: 244 * MIB },
  choices: [{ key: 'max_length', value: '512', reason: 'the longest document has 497 tokens' }],
  techniques: ['optimizer: AdamW, f32 moments'],
  notices: ['dropout 0.1 is not applied'],
  example: [{ text: 'Why?', trained: false }, { text: ' Because', trained: true }, { text: '.', trained: true }],
};

export const STEP: StepEvent = {
  kind: 'step', step: 1, epoch: 0.2, loss: 3.21412345, gradientNorm: 1.5, learningRate: 9.6e-4, tokens: 4000, trainedTokens: 1800, stepMs: 800,
  tokensPerSecond: 5000.4, mfu: 0.612, residentBytes: 200 * MIB, etaSeconds: 65,
};

export const END: EndEvent = {
  kind: 'end', reason: 'finished', step: 2, modelPath: 'runs/a b/model', modelStep: 2, plannedBytes: 244 * MIB, peakResidentBytes: 231 * MIB,
  predictedStepMs: 812, measuredStepMs: 790, suggestedMemoryBytes: null, seconds: 3725,
};

export const EVENTS: readonly RunEvent[] = [
  START, STEP, { ...STEP, step: 2, epoch: 0.4, loss: 2.5, etaSeconds: 0 },
  { kind: 'eval', step: 2, loss: 2.25, perplexity: 9.4877, tokens: 1200, evalMs: 1500 },
  { kind: 'checkpoint', step: 2, path: 'runs/a b/checkpoint-2', bytes: 12 * MIB, saveMs: 40 },
  { kind: 'warning', message: 'slow disk' },
  END,
];

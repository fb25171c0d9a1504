/** Four-bit AdamW is an optimizer of PyTorch alone: it goes where TorchPlans go, and the embedded engine refuses it with what to do. */

import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../base/errors.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import { parseAnyPlan } from '../run/torch-plan-schema.ts';
import { plainPlan } from '../run/training-plan.ts';
import { optimizer } from '../techniques/optimizer.ts';
import { defaultTorchPlan } from './default-plan.ts';
import { explainTorchOptimizer, torchOptimizers } from './torch-optimizer.ts';

const settings = (config: Partial<RunConfig>): Settings => resolveSettings({ model: 'm', dataset: 'd.jsonl', ...config });
const embedded = (config: Partial<RunConfig>) => optimizer.values({ settings: settings(config), maxLength: 128, bucketLengths: [128], rowsPerEpoch: 8 }).map(({ kind }) => kind);
const FOUR_BIT = { kind: 'adamw_4bit', beta1: 0.8, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1 } as const;

describe('the optimizers of a run on PyTorch', () => {
  it('are the one that is named, with its numbers', () => {
    for (const optim of ['adamw_4bit', 'adamw_torch_4bit']) {
      expect(torchOptimizers(settings({ optim, adam_beta1: 0.8, adam_beta2: 0.95, adam_epsilon: 1e-6, weight_decay: 0.1, allow: ['all'] }))).toEqual([FOUR_BIT]);
    }
    expect(torchOptimizers(settings({ optim: 'sgd' }))).toEqual([{ kind: 'sgd', momentum: 0.9, weightDecay: 0 }]);
  });

  it('are AdamW and what may take its place, from the nearest to it on', () => {
    expect(torchOptimizers(settings({})).map(({ kind }) => kind)).toEqual(['adamw']);
    expect(torchOptimizers(settings({ allow: ['all'] })).map(({ kind }) => kind)).toEqual(['adamw', 'adamw_8bit', 'adamw_4bit', 'adafactor']);
    expect(torchOptimizers(settings({ allow: ['adamw_4bit'] })).map(({ kind }) => kind)).toEqual(['adamw', 'adamw_4bit']);
  });

  it('are explained, those of the embedded engine as it explains them', () => {
    expect(explainTorchOptimizer(FOUR_BIT).brief).toBe('4-bit AdamW');
    const eight = { ...FOUR_BIT, kind: 'adamw_8bit', embeddings: false } as const;
    expect(explainTorchOptimizer(eight)).toEqual(optimizer.explain(eight));
  });
});

describe('a plan with four-bit AdamW', () => {
  const plan = defaultTorchPlan({ settings: settings({ optim: 'adamw_4bit' }), model: { layers: 4, vocabularySize: 512 }, maxLength: 128, bucketLengths: [128], frozen: [], worldSize: 1, ranksPerNode: 1 });

  it('is one for PyTorch', () => {
    expect(plan.optimizer).toEqual({ kind: 'adamw_4bit', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 });
    expect(parseAnyPlan(structuredClone(plan), 'plan.json')).toEqual(plan);
    expect(() => parseAnyPlan({ ...plan, optimizer: { ...FOUR_BIT, embeddings: true } }, 'plan.json')).toThrow('optimizer');
  });

  it('is none for the embedded engine', () => {
    expect(() => parseAnyPlan({ ...plainPlan({ rowLength: 128 }), optimizer: FOUR_BIT }, 'plan.json')).toThrow("'plan.json' is not a training plan: optimizer");
  });
});

describe('the embedded engine', () => {
  it('refuses it, and says what to use instead', () => {
    let refusal: unknown;
    try {
      embedded({ optim: 'adamw_torch_4bit' });
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(FulltuneError);
    expect(refusal).toMatchObject({ code: 'E_CONFIG', message: 'optim is adamw_4bit, which the embedded engine does not have', remedy: 'Use optim adamw_8bit, or PyTorch: train --engine torch, plan --device NAME.' });
  });

  it('never takes it in the place of AdamW', () => {
    expect(embedded({ allow: ['all'] })).toEqual(['adamw', 'adamw_8bit', 'adafactor']);
    expect(embedded({ allow: ['adamw_4bit'] })).toEqual(['adamw']);
  });
});

/** What attention a plan is carried out with: where a mask has to be made, its bytes and those of repeated keys are counted. */

import { describe, expect, it } from 'vitest';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { defaultTorchPlan } from './default-plan.ts';
import { estimateMemory } from './estimate-memory.ts';
import { findPublicModel } from './public-models.ts';
import { caseOfPlan } from './torch-case.ts';

const [AMPERE, TURING] = [{ hasBf16: true }, { hasBf16: false }];

function attentionOf(config: Partial<RunConfig>, accelerator: typeof AMPERE | undefined, model = 'Qwen2.5-0.5B'): string {
  const settings = resolveSettings({ model: 'm', dataset: 'd.jsonl', ...config });
  const plan = defaultTorchPlan({ settings, model: { layers: 24, vocabularySize: 151936 }, maxLength: 1024, bucketLengths: [1024], frozen: [], worldSize: 1, ranksPerNode: 1 });
  return caseOfPlan(findPublicModel(model)!.shape, plan, accelerator === undefined ? {} : { accelerator }).attention;
}

describe('attention', () => {
  it('of rows of one document needs no mask where a fused kernel lets query heads share keys', () => {
    expect(attentionOf({ packing: false, bf16: true }, AMPERE)).toBe('fused');
    expect(attentionOf({ packing: false }, AMPERE)).toBe('masked');
    expect(attentionOf({ packing: false, fp16: true }, TURING)).toBe('masked');
    expect(attentionOf({ packing: false }, AMPERE, 'Llama-2-7b')).toBe('fused');
    expect(attentionOf({ packing: false }, undefined)).toBe('fused');
  });

  it('of several documents in a row needs one, but for FlexAttention', () => {
    expect(attentionOf({ packing: true, bf16: true }, AMPERE)).toBe('masked');
    expect(attentionOf({ packing: true, bf16: true, attn_implementation: 'flex_attention' }, AMPERE)).toBe('flex');
    expect(attentionOf({ packing: true, attn_implementation: 'eager' }, AMPERE)).toBe('eager');
  });

  it('with a mask holds one element per pair, for all layers once', () => {
    const settings = resolveSettings({ model: 'm', dataset: 'd.jsonl', packing: false });
    const plan = defaultTorchPlan({ settings, model: { layers: 24, vocabularySize: 151936 }, maxLength: 1024, bucketLengths: [1024], frozen: [], worldSize: 1, ranksPerNode: 1 });
    const { shape } = findPublicModel('Qwen2.5-0.5B')!;
    const activations = (given: Parameters<typeof caseOfPlan>[2]): number => estimateMemory(caseOfPlan(shape, plan, given)).classes.activations;
    const repeated = 2 * 4 * (shape.heads - shape.keyValueHeads) * shape.headWidth * shape.layers;
    expect(activations({ accelerator: AMPERE }) - activations({})).toBe(8 * 1024 * (repeated + 4 * 1024));
  });
});

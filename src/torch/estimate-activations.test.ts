/** Saved bytes per token and layer against what autograd's hooks saw in torch 2.13 and transformers 5.23 on a CPU: `worker/measure.py --saved`. */

import { describe, expect, it } from 'vitest';
import { blockBytes, type BlockOptions } from './estimate-activations.ts';
import { ARCHITECTURE_FEATURES, type Architecture, type ModelShape } from './model-shape.ts';

/** D 64, H 4, G 2 (or 4), K 16, F 176, T 32: per architecture, fused and eager attention; f32, autocast, bf16 weights. Weights that autocast copies are taken off. */
const SEEN: readonly (readonly [Architecture, 'fused' | 'eager', f32: number, autocast: number, low: number])[] = [
  ['LlamaForCausalLM', 'fused', 5144, 3480, 2840],
  ['LlamaForCausalLM', 'eager', 5896, 4360, 3720],
  ['Qwen3ForCausalLM', 'fused', 5936, 4080, 3440],
  ['Qwen3ForCausalLM', 'eager', 6688, 4960, 4320],
  ['GPT2LMHeadModel', 'fused', 5600, 3072, 2808],
  ['Olmo2ForCausalLM', 'fused', 5920, 4256, 3872],
  ['Phi3ForCausalLM', 'fused', 5784, 3416, 3160],
  ['GPTNeoXForCausalLM', 'fused', 4000, 2144, 2008],
];

function tiny(architecture: Architecture): ModelShape {
  const grouped = architecture !== 'GPTNeoXForCausalLM' && architecture !== 'GPT2LMHeadModel';
  return {
    name: architecture, width: 64, layers: 2, heads: 4, keyValueHeads: grouped ? 2 : 4, headWidth: 16, feedForwardWidth: 176, vocabularySize: 128, maxPositions: 32, learnedPositions: 0,
    tiedHead: false, experts: 1, activeExperts: 1, features: ARCHITECTURE_FEATURES[architecture], otherParameters: 0,
  };
}

describe('saved activations', () => {
  it.each(SEEN)('of %s, %s, are those that autograd saves', (architecture, attention, f32, autocast, low) => {
    const saved = (precision: BlockOptions['precision']): number => blockBytes(tiny(architecture), { precision, attention, rowLength: 32, compiled: false }).saved;
    // Statistics of norms have two bytes instead of four in some of them: no more than that may differ.
    for (const [precision, seen] of [['f32', f32], ['autocast', autocast], ['low', low]] as const) expect(Math.abs(saved(precision) - seen), precision).toBeLessThanOrEqual(24);
  });

  it('fall with recompute, and repeat keys and values under a mask', () => {
    const block = (attention: BlockOptions['attention']): ReturnType<typeof blockBytes> => blockBytes(tiny('LlamaForCausalLM'), { precision: 'low', attention, rowLength: 32, compiled: false });
    const { saved, products, everySecondProduct, input } = block('fused');
    expect([saved > products, products > everySecondProduct, everySecondProduct > input]).toEqual([true, true, true]);
    expect(input).toBe(2 * 64);
    expect(block('masked').saved - saved).toBe(2 * 2 * (64 - 32));
  });
});

/** The table of public models: totals counted from the shapes, and names as people write them. */

import { describe, expect, it } from 'vitest';
import { countShape } from './model-shape.ts';
import { findPublicModel, PUBLIC_MODELS, unknownModel } from './public-models.ts';

describe('public models', () => {
  it('have the published number of parameters, counted from their shape', () => {
    expect(PUBLIC_MODELS).toHaveLength(46);
    expect(PUBLIC_MODELS.map(({ id, shape }) => [id, countShape(shape).total])).toEqual(PUBLIC_MODELS.map(({ id, counted }) => [id, counted]));
    expect(PUBLIC_MODELS.filter(({ published, counted }) => typeof published === 'number' && published !== counted)).toEqual([]);
  });

  // Their makers publish a name that was rounded, no count: `13B` has 13.7, `14B` 14.8 billion. Nothing exact can be equal to that.
  it('are within what a rounded name can mean where no count is published', () => {
    const rounded = PUBLIC_MODELS.filter(({ published }) => typeof published === 'string');
    expect(rounded.map(({ id }) => id)).toEqual([
      'allenai/OLMo-2-1124-7B', 'allenai/OLMo-2-1124-13B', 'Qwen/Qwen3-0.6B', 'Qwen/Qwen3-1.7B', 'Qwen/Qwen3-4B', 'Qwen/Qwen3-14B', 'Qwen/Qwen3-32B',
    ]);
    for (const { published, counted } of rounded) expect(Math.abs(counted / (Number.parseFloat(String(published)) * 1e9) - 1)).toBeLessThan(0.06);
    expect(PUBLIC_MODELS.filter(({ published }) => published === null).map(({ id }) => id)).toEqual(['mistralai/Mistral-7B-v0.3']);
  });

  it('are found as people write them', () => {
    const found = (text: string): string | undefined => findPublicModel(text)?.id;
    expect(found('meta-llama/Llama-3.1-8B')).toBe('meta-llama/Llama-3.1-8B');
    expect(found('llama-3.1-8b')).toBe('meta-llama/Llama-3.1-8B');
    expect(found('meta-llama/Meta-Llama-3.1-8B-Instruct')).toBe('meta-llama/Llama-3.1-8B');
    expect(found('qwen2.5-0.5b-instruct')).toBe('Qwen/Qwen2.5-0.5B');
    expect(found('TinyLlama-1.1B')).toBe('TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T');
    expect(found('gpt2-xl')).toBe('openai-community/gpt2-xl');
    expect(found('llama-3.1-9b')).toBeUndefined();
    expect(unknownModel('llama-3.1-9b').remedy).toContain('Did you mean Llama-3.1-8B?');
  });

  it('count the active experts of a mixture', () => {
    const { active, total } = countShape(findPublicModel('Mixtral-8x7B-v0.1')!.shape);
    expect(total).toBe(46_702_792_704);
    expect(active).toBe(12_879_925_248);
  });
});

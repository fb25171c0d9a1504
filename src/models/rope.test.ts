import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { parseModelConfig } from './model-config.ts';
import { inverseFrequencies } from './rope.ts';

interface RopeGolden {
  readonly cases: readonly { readonly head_dim: number; readonly rope_parameters: Readonly<Record<string, unknown>>; readonly inverse_frequencies: readonly number[] }[];
}

const golden = JSON.parse(readFileSync(new URL('../../test/goldens/models/rope.json', import.meta.url), 'utf8')) as RopeGolden;

describe('inverseFrequencies', () => {
  it.each(golden.cases)('of head_dim $head_dim and $rope_parameters agree with transformers to f32 precision', (sample) => {
    const config = parseModelConfig({
      architectures: ['LlamaForCausalLM'], head_dim: sample.head_dim, max_position_embeddings: 131072, rope_parameters: sample.rope_parameters,
    }, 'config.json');
    if (config.kind !== 'llama') throw new Error('not a llama');
    const found = inverseFrequencies(config.rope, sample.head_dim);
    expect(found).toHaveLength(sample.inverse_frequencies.length);
    found.forEach((frequency, index) => {
      expect(frequency).toBe(Math.fround(frequency));
      expect(Math.abs(frequency / sample.inverse_frequencies[index]! - 1), `frequency ${index}`).toBeLessThan(5e-7);
    });
  });

  it('reads both spellings alike', () => {
    const base = { architectures: ['LlamaForCausalLM'], hidden_size: 32, num_attention_heads: 4 };
    const rope = (more: object): unknown => {
      const config = parseModelConfig({ ...base, ...more }, 'config.json');
      return config.kind === 'llama' ? config.rope : undefined;
    };
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const five = rope({ rope_parameters: { rope_theta: 500000, rope_type: 'llama3', ...scaling } });
    expect(five).toEqual({ kind: 'llama3', theta: 500000, factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 });
    expect(rope({ rope_theta: 500000, rope_scaling: { rope_type: 'llama3', ...scaling } })).toEqual(five);
    expect(rope({ rope_theta: 500000, rope_scaling: { type: 'llama3', ...scaling } })).toEqual(five);
    expect(rope({ rope_theta: 7, rope_parameters: { rope_theta: 500000, rope_type: 'llama3', ...scaling } })).toEqual(five);
    expect(rope({ rope_scaling: null, rope_parameters: null })).toEqual({ kind: 'default', theta: 10000 });
    expect(rope({ rope_scaling: { type: 'linear', factor: 2 } })).toEqual({ kind: 'linear', theta: 10000, factor: 2 });
    // Without its own, the length before stretching is the model's.
    expect(rope({ max_position_embeddings: 4096, rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 } }))
      .toMatchObject({ originalMaxPositions: 4096 });
  });

  it.each([
    [{ rope_scaling: { rope_type: 'yarn', factor: 4 } }, /rope type "yarn" is not supported/],
    [{ rope_scaling: { rope_type: 'dynamic', factor: 4 } }, /"dynamic"/],
    [{ rope_scaling: { rope_type: 'linear' } }, /factor is missing/],
    [{ rope_scaling: { rope_type: 'linear', factor: 0.5 } }, /factor is 0.5/],
    [{ rope_scaling: { rope_type: 'linear', factor: 2, beta_fast: 32 } }, /beta_fast/],
    [{ rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1 } }, /high_freq_factor \(1\) must be above/],
    [{ rope_scaling: { type: 'linear', factor: 2 }, rope_parameters: { rope_type: 'default' } }, /both given/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0.5/],
  ])('refuses %j', (more, message) => {
    expect(() => parseModelConfig({ architectures: ['LlamaForCausalLM'], ...more }, 'config.json')).toThrow(message);
  });
});

import { describe, expect, it } from 'vitest';

import { CHUNK_ELEMENTS, initialValues, likeConfig } from './init.ts';
import type { Parameter } from './parameters.ts';

const LLAMA = {
  architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 64, num_hidden_layers: 4, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 8,
  intermediate_size: 96, vocab_size: 100, bos_token_id: 1, eos_token_id: [2, 99], pad_token_id: 50,
};

describe('likeConfig', () => {
  it('changes the sizes that are given and what follows from them', () => {
    const { json, config } = likeConfig(LLAMA, { hidden_size: 48, num_attention_heads: 4, num_hidden_layers: 2, vocab_size: 60, tie_word_embeddings: true }, 'config.json');
    expect(config).toMatchObject({ width: 48, heads: 4, headWidth: 12, keyValueHeads: 2, layers: 2, vocabularySize: 60, tiedHead: true, feedForwardWidth: 96 });
    expect(config.ids).toEqual({ bos: 1, eos: [], pad: 50 }); // 99 is not in a vocabulary of 60
    expect(json).toMatchObject({ architectures: ['LlamaForCausalLM'], hidden_size: 48, eos_token_id: null });
    expect(LLAMA.hidden_size).toBe(64);
  });

  it('keeps one key/value head per head, an own head_dim and layer types', () => {
    expect(likeConfig({ ...LLAMA, num_key_value_heads: 8 }, { num_attention_heads: 16 }, 'c').config.keyValueHeads).toBe(16);
    expect(likeConfig({ ...LLAMA, model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 32 }, { hidden_size: 32 }, 'c').config.headWidth).toBe(32);
    const types = likeConfig({ ...LLAMA, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'], layer_types: Array(4).fill('full_attention') }, { num_hidden_layers: 6 }, 'c');
    expect(types.json['layer_types']).toHaveLength(6);
  });

  it('uses GPT-2\'s own names', () => {
    const { json, config } = likeConfig({ model_type: 'gpt2', n_ctx: 1024, n_positions: 1024 }, { hidden_size: 24, num_attention_heads: 3, max_position_embeddings: 16, vocab_size: 40 }, 'c');
    expect(json).toEqual({ model_type: 'gpt2', n_ctx: 16, n_positions: 16, n_embd: 24, n_head: 3, vocab_size: 40, bos_token_id: null, eos_token_id: null });
    expect(config).toMatchObject({ width: 24, maxPositions: 16, feedForwardWidth: 96 });
    expect(() => likeConfig({ model_type: 'gpt2' }, { head_dim: 3 }, 'c')).toThrow(/head_dim 3 cannot be set/);
  });

  it('refuses sizes that do not fit', () => {
    expect(() => likeConfig(LLAMA, { num_attention_heads: 7 }, 'c')).toThrow(/hidden_size 64 is not a multiple of num_attention_heads 7/);
    expect(() => likeConfig(LLAMA, { num_key_value_heads: 3 }, 'c')).toThrow(/not a multiple of num_key_value_heads 3/);
  });
});

describe('initialValues', () => {
  const matrix: Parameter = { name: 'm', shape: [3, CHUNK_ELEMENTS / 2 + 7], kind: 'matrix', init: { kind: 'normal', standardDeviation: 0.02 } };
  const size = 3 * (CHUNK_ELEMENTS / 2 + 7);

  it('gives the same numbers in whatever pieces they are drawn', () => {
    const draw = initialValues(matrix, 42, 5);
    const whole = draw(size, 0);
    for (const [offset, count] of [[0, 10], [CHUNK_ELEMENTS - 3, 6], [CHUNK_ELEMENTS, 1], [size - 5, 5], [100, CHUNK_ELEMENTS]] as const) {
      expect(draw(count, offset)).toEqual(whole.slice(offset, offset + count));
    }
    expect(() => draw(2, size - 1)).toThrow(RangeError);
  });

  it('is normal with the parameter\'s deviation, and other for each seed, parameter and chunk', () => {
    const values = initialValues(matrix, 42, 5)(size, 0);
    const mean = values.reduce((a, b) => a + b, 0) / size;
    const deviation = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / size);
    expect(Math.abs(mean)).toBeLessThan(0.02 * 0.012);
    expect(Math.abs(deviation / 0.02 - 1)).toBeLessThan(0.01);
    const within = values.filter((value) => Math.abs(value) < 0.02).length / size;
    expect(Math.abs(within - 0.6827)).toBeLessThan(0.006);
    const start = Array.from(values.subarray(0, 4));
    expect([...initialValues(matrix, 43, 5)(4, 0)]).not.toEqual(start);
    expect([...initialValues(matrix, 42, 6)(4, 0)]).not.toEqual(start);
    expect(Array.from(values.subarray(CHUNK_ELEMENTS, CHUNK_ELEMENTS + 4))).not.toEqual(start);
  });

  it('fills biases and norms', () => {
    expect([...initialValues({ name: 'b', shape: [3], kind: 'bias', init: { kind: 'zeros' } }, 1, 0)(2, 1)]).toEqual([0, 0]);
    expect([...initialValues({ name: 'n', shape: [3], kind: 'norm', init: { kind: 'ones' } }, 1, 0)(3, 0)]).toEqual([1, 1, 1]);
  });
});

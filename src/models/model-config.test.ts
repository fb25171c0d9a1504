import { describe, expect, it } from 'vitest';

import { FulltuneError } from '../base/errors.ts';
import { HARMLESS_KEYS } from './harmless-keys.ts';
import { checkLength, parseModelConfig, type LlamaConfig, type ModelConfig } from './model-config.ts';

const parse = (json: unknown): ModelConfig => parseModelConfig(json, 'model/config.json');

function llama(json: object): LlamaConfig {
  const config = parse(json);
  if (config.kind !== 'llama') throw new Error(`expected kind llama, found ${config.kind}`);
  return config;
}

function failure(json: unknown): FulltuneError {
  try {
    parse(json);
  } catch (error) {
    if (error instanceof FulltuneError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const LLAMA_3_2_1B = {
  architectures: ['LlamaForCausalLM'], attention_bias: false, attention_dropout: 0.0, bos_token_id: 128000, eos_token_id: [128001, 128008, 128009],
  head_dim: 64, hidden_act: 'silu', hidden_size: 2048, initializer_range: 0.02, intermediate_size: 8192, max_position_embeddings: 131072,
  mlp_bias: false, model_type: 'llama', num_attention_heads: 32, num_hidden_layers: 16, num_key_value_heads: 8, pretraining_tp: 1, rms_norm_eps: 1e-5,
  rope_scaling: { factor: 32.0, high_freq_factor: 4.0, low_freq_factor: 1.0, original_max_position_embeddings: 8192, rope_type: 'llama3' },
  rope_theta: 500000.0, tie_word_embeddings: true, torch_dtype: 'bfloat16', transformers_version: '4.45.0.dev0', use_cache: true, vocab_size: 128256,
};
const QWEN2_5 = {
  architectures: ['Qwen2ForCausalLM'], attention_dropout: 0.0, bos_token_id: 151643, eos_token_id: 151645, hidden_act: 'silu', hidden_size: 896,
  initializer_range: 0.02, intermediate_size: 4864, max_position_embeddings: 32768, max_window_layers: 21, model_type: 'qwen2', num_attention_heads: 14,
  num_hidden_layers: 24, num_key_value_heads: 2, rms_norm_eps: 1e-6, rope_theta: 1000000.0, sliding_window: 32768, tie_word_embeddings: true,
  torch_dtype: 'bfloat16', transformers_version: '4.43.1', use_cache: true, use_sliding_window: false, vocab_size: 151936,
};
const GPT2 = { // the published file: many keys of today are absent, some of its own are gone
  activation_function: 'gelu_new', architectures: ['GPT2LMHeadModel'], attn_pdrop: 0.1, bos_token_id: 50256, embd_pdrop: 0.1, eos_token_id: 50256,
  initializer_range: 0.02, layer_norm_epsilon: 1e-5, model_type: 'gpt2', n_ctx: 1024, n_embd: 768, n_head: 12, n_layer: 12, n_positions: 1024,
  resid_pdrop: 0.1, summary_activation: null, summary_first_dropout: 0.1, summary_proj_to_labels: true, summary_type: 'cls_index', summary_use_proj: true,
  task_specific_params: { 'text-generation': { do_sample: true, max_length: 50 } }, vocab_size: 50257,
};

describe('parseModelConfig', () => {
  it('reads Llama 3.2', () => {
    expect(parse(LLAMA_3_2_1B)).toEqual({
      kind: 'llama', modelType: 'llama', width: 2048, layers: 16, heads: 32, keyValueHeads: 8, headWidth: 64, vocabularySize: 128256,
      feedForwardWidth: 8192, maxPositions: 131072, tiedHead: true, initializerRange: 0.02,
      ids: { bos: 128000, eos: [128001, 128008, 128009], pad: undefined }, dtype: 'bf16', rmsNormEpsilon: 1e-5,
      rope: { kind: 'llama3', theta: 500000, factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 },
      qkvBias: false, outputBias: false, mlpBias: false, qkNorm: false, slidingWindow: undefined, notices: [],
    });
  });

  it('reads Qwen2.5, GPT-2 and their particulars', () => {
    expect(parse(QWEN2_5)).toMatchObject({ qkvBias: true, outputBias: false, qkNorm: false, headWidth: 64, slidingWindow: undefined, tiedHead: true });
    expect(parse(GPT2)).toMatchObject({
      kind: 'gpt2', width: 768, headWidth: 64, feedForwardWidth: 3072, maxPositions: 1024, tiedHead: true, activation: 'gelu-tanh',
      scaleByHeadWidth: true, scaleByLayer: false,
    });
    expect(parse({ ...GPT2, activation_function: 'gelu' })).toMatchObject({ activation: 'gelu' });
  });

  it('takes the family\'s own defaults', () => {
    expect(llama({ architectures: ['LlamaForCausalLM'] })).toMatchObject({
      width: 4096, keyValueHeads: 32, headWidth: 128, feedForwardWidth: 11008, rmsNormEpsilon: 1e-6, maxPositions: 2048, tiedHead: false, ids: { bos: 1, eos: [2] },
    });
    expect(llama({ model_type: 'mistral' })).toMatchObject({ keyValueHeads: 8, feedForwardWidth: 14336, maxPositions: 131072, slidingWindow: 4096 });
    expect(llama({ model_type: 'mistral', num_key_value_heads: null, sliding_window: null })).toMatchObject({ keyValueHeads: 32, slidingWindow: undefined });
    expect(llama({ model_type: 'qwen3', hidden_size: 1024, num_attention_heads: 64 })).toMatchObject({ headWidth: 128, qkNorm: true, ids: { bos: undefined, eos: [] } });
    expect(llama({ model_type: 'llama', pad_token_id: -1, bos_token_id: null })).toMatchObject({ ids: { bos: undefined, pad: undefined } });
  });

  it('reads both spellings of the element type', () => {
    expect(parse({ model_type: 'gpt2', dtype: 'float16' }).dtype).toBe('f16');
    expect(parse({ model_type: 'gpt2', torch_dtype: 'float32' }).dtype).toBe('f32');
    expect(failure({ model_type: 'gpt2', torch_dtype: 'float8_e4m3fn' }).message).toMatch(/torch_dtype "float8_e4m3fn" is not supported/);
  });

  it('says once that dropout is left out', () => {
    expect(parse(GPT2).notices).toEqual([expect.stringContaining('attn_pdrop 0.1, embd_pdrop 0.1, resid_pdrop 0.1')]);
    expect(parse({ ...LLAMA_3_2_1B, attention_dropout: 0.05 }).notices).toHaveLength(1);
  });

  it.each<[object, RegExp, RegExp?]>([
    [{ architectures: ['GPTNeoXForCausalLM'] }, /architecture \["GPTNeoXForCausalLM"\] is not supported/, /LlamaForCausalLM, .*GPT2LMHeadModel/],
    [{ model_type: 'gemma2' }, /model_type "gemma2"/, /Supported: LlamaForCausalLM/],
    [{}, /neither architectures nor model_type/],
    [{ architectures: ['LlamaForCausalLM'], model_type: 'qwen2' }, /architectures says "LlamaForCausalLM" but model_type says "qwen2"/],
    [{ architectures: [] }, /architecture \[\]/],
    [{ ...LLAMA_3_2_1B, quantization_config: { bits: 4 } }, /quantization_config is \{"bits":4\}/],
    [{ ...LLAMA_3_2_1B, auto_map: { AutoModel: 'x' } }, /auto_map/],
    [{ ...LLAMA_3_2_1B, hidden_sise: 2048 }, /hidden_sise \(2048\)/, /Did you mean hidden_size\?/],
    [{ ...LLAMA_3_2_1B, logit_softcapping_of_mine: 30 }, /logit_softcapping_of_mine \(30\) is not known/],
    [{ ...LLAMA_3_2_1B, hidden_act: 'gelu' }, /hidden_act "gelu" is not supported/, /silu/],
    [{ ...LLAMA_3_2_1B, num_attention_heads: 30 }, /hidden_size 2048 is not a multiple of num_attention_heads 30/],
    [{ ...LLAMA_3_2_1B, num_key_value_heads: 5 }, /num_attention_heads 32 is not a multiple of num_key_value_heads 5/],
    [{ ...LLAMA_3_2_1B, head_dim: 63 }, /head_dim 63 is odd/],
    [{ ...LLAMA_3_2_1B, hidden_size: 0 }, /hidden_size is 0; it must be a positive integer/],
    [{ ...LLAMA_3_2_1B, hidden_size: '2048' }, /hidden_size is "2048"/],
    [{ ...LLAMA_3_2_1B, vocab_size: 1e300 }, /vocab_size is 1e\+300/],
    [{ ...LLAMA_3_2_1B, rms_norm_eps: -1 }, /rms_norm_eps is -1/],
    [{ ...LLAMA_3_2_1B, attention_bias: 'no' }, /attention_bias is "no"; it must be true or false/],
    [{ ...LLAMA_3_2_1B, eos_token_id: 'x' }, /eos_token_id is "x"/],
    [{ ...LLAMA_3_2_1B, is_encoder_decoder: true }, /is_encoder_decoder is true/],
    [{ ...QWEN2_5, mlp_bias: true }, /mlp_bias is true/],
    [{ ...QWEN2_5, use_mrope: true }, /use_mrope/],
    [{ ...QWEN2_5, layer_types: ['full_attention'] }, /one type for each of the 24 layers/],
    [{ ...QWEN2_5, layer_types: Array(24).fill('linear_attention') }, /layer_types has "linear_attention"/],
    [{ ...GPT2, n_head: 11 }, /n_embd 768 is not a multiple of n_head 11/],
    [{ ...GPT2, activation_function: 'relu' }, /activation_function "relu" is not supported/, /gelu_new, gelu_pytorch_tanh, gelu/],
    [{ ...GPT2, add_cross_attention: true }, /add_cross_attention is true/],
    [{ ...GPT2, rope_theta: 10000 }, /rope_theta \(10000\) is not known for this kind/],
    [{ ...GPT2, hidden_size: 512 }, /n_embd is 768 but hidden_size is 512/],
  ])('refuses %j', (json, message, remedy) => {
    const error = failure(json);
    expect(error.code).toBe('E_MODEL');
    expect(error.where).toContain('model/config.json');
    expect(error.message).toMatch(message);
    if (remedy !== undefined) expect(error.remedy).toMatch(remedy);
  });

  it.each([null, [], 'config', 3])('refuses %j in place of an object', (json) => {
    expect(failure(json).message).toMatch(/a JSON object was expected/);
  });

  it('gives a reason for each harmless key, none of which it uses itself', () => {
    for (const [key, why] of HARMLESS_KEYS) {
      expect(why).not.toBe('');
      const value = { arbitrary: key };
      expect(parse({ ...LLAMA_3_2_1B, [key]: value })).toEqual(parse(LLAMA_3_2_1B));
      expect(parse({ ...GPT2, [key]: value })).toEqual(parse(GPT2));
    }
  });
});

describe('checkLength', () => {
  it('refuses rows beyond a sliding window, and only those', () => {
    const mistral = llama({ model_type: 'mistral', sliding_window: 100 });
    expect(checkLength(mistral, 100)).toEqual([]);
    expect(() => checkLength(mistral, 101)).toThrow(/rows of 101 tokens exceed the model's sliding_window of 100/);
  });

  it.each<[object, number | undefined]>([
    [{ use_sliding_window: true, sliding_window: 50, max_window_layers: 10 }, 50],
    [{ use_sliding_window: true, sliding_window: 50, max_window_layers: 24 }, undefined],
    [{ use_sliding_window: false, sliding_window: 50, max_window_layers: 0 }, undefined],
    [{ use_sliding_window: true, sliding_window: 50, max_window_layers: 24, layer_types: ['sliding_attention', ...Array(23).fill('full_attention')] }, 50],
    [{ use_sliding_window: true, sliding_window: 50, max_window_layers: 0, layer_types: Array(24).fill('full_attention') }, undefined],
    [{ use_sliding_window: true, sliding_window: null, max_window_layers: 0 }, undefined],
  ])('knows which layers of Qwen have a window: %j', (more, window) => {
    expect(llama({ ...QWEN2_5, ...more }).slidingWindow).toBe(window);
  });

  it('refuses rows beyond a table of positions, and remarks on rows beyond trained positions', () => {
    expect(() => checkLength(parse(GPT2), 1025)).toThrow(/rows of 1025 tokens exceed the model's table of 1024 positions/);
    expect(checkLength(parse(GPT2), 1024)).toEqual([]);
    expect(checkLength(parse(QWEN2_5), 32769)).toEqual([expect.stringContaining('32768')]);
  });
});

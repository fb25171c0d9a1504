import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { readSafetensorsHeader } from '../files/safetensors.ts';
import { sharedPath } from '../testing/shared.ts';
import { matchWeights, type FileTensor } from './match-weights.ts';
import { parseModelConfig, type ModelConfig } from './model-config.ts';
import { parameterList } from './parameters.ts';

const LLAMA = parseModelConfig({ model_type: 'llama', hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 12, vocab_size: 10, tie_word_embeddings: true }, 'config.json');
const UNTIED = parseModelConfig({ model_type: 'llama', hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 12, vocab_size: 10 }, 'config.json');
const GPT2 = parseModelConfig({ model_type: 'gpt2', n_embd: 8, n_layer: 2, n_head: 2, n_positions: 6, vocab_size: 10 }, 'config.json');

function stored(config: ModelConfig, dtype = 'F32'): Map<string, FileTensor> {
  return new Map(parameterList(config).map(({ name, shape }) => [name, { dtype, shape }]));
}

function message(config: ModelConfig, tensors: ReadonlyMap<string, FileTensor>): string {
  try {
    matchWeights(config, tensors, 'model.safetensors');
  } catch (error) {
    expect(error).toMatchObject({ code: 'E_MODEL', where: 'model.safetensors' });
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}

describe('matchWeights', () => {
  it.each(['F32', 'BF16', 'F16'])('matches every parameter stored in %s', (dtype) => {
    const matches = matchWeights(UNTIED, stored(UNTIED, dtype));
    expect([...matches]).toEqual(parameterList(UNTIED).map(({ name }) => [name, name]));
  });

  it('finds every tensor of a real checkpoint', () => {
    const folder = sharedPath('models/stories260K');
    const config = parseModelConfig(JSON.parse(readFileSync(`${folder}/config.json`, 'utf8')), folder);
    const { tensors } = readSafetensorsHeader(`${folder}/model.safetensors`);
    expect(matchWeights(config, new Map(tensors.map((tensor) => [tensor.name, tensor]))).size).toBe(parameterList(config).length);
  });

  it('takes GPT-2 with or without the prefix', () => {
    const bare = new Map([...stored(GPT2)].map(([name, tensor]) => [name.replace('transformer.', ''), tensor]));
    const matches = matchWeights(GPT2, bare);
    expect(matches.get('transformer.h.1.attn.c_attn.weight')).toBe('h.1.attn.c_attn.weight');
    expect(matches.size).toBe(parameterList(GPT2).length);
    expect(matchWeights(GPT2, stored(GPT2)).get('transformer.wte.weight')).toBe('transformer.wte.weight');
  });

  it('passes over a stored tied head and over buffers, whatever their dtype', () => {
    const llama = stored(LLAMA).set('lm_head.weight', { dtype: 'F32', shape: [10, 8] }).set('model.layers.0.self_attn.rotary_emb.inv_freq', { dtype: 'F64', shape: [2] });
    expect(matchWeights(LLAMA, llama).has('lm_head.weight')).toBe(false);
    const gpt2 = stored(GPT2).set('h.0.attn.bias', { dtype: 'U8', shape: [1, 1, 6, 6] }).set('transformer.h.1.attn.masked_bias', { dtype: 'F32', shape: [] });
    expect(matchWeights(GPT2, gpt2).size).toBe(parameterList(GPT2).length);
  });

  it('names what is missing', () => {
    const tensors = stored(UNTIED);
    tensors.delete('lm_head.weight');
    expect(message(UNTIED, tensors)).toMatch(/missing: lm_head\.weight \[10, 8\]$/);
    expect(message(UNTIED, new Map())).toMatch(/missing: model\.embed_tokens\.weight \[10, 8\], .* and 17 more$/);
  });

  it('names what is left over, misshaped or of another dtype', () => {
    expect(message(LLAMA, stored(LLAMA).set('model.layers.2.mlp.up_proj.weight', { dtype: 'F32', shape: [12, 8] })))
      .toMatch(/not part of this model: model\.layers\.2\.mlp\.up_proj\.weight \[12, 8\]/);
    expect(message(LLAMA, stored(LLAMA).set('model.layers.0.self_attn.q_proj.bias', { dtype: 'F32', shape: [8] }))).toMatch(/not part of this model: .*q_proj\.bias/);
    expect(message(LLAMA, stored(LLAMA).set('model.norm.weight', { dtype: 'F32', shape: [9] })))
      .toMatch(/not as expected: model\.norm\.weight is \[9\], config\.json makes it \[8\]/);
    expect(message(LLAMA, stored(LLAMA).set('model.norm.weight', { dtype: 'F8_E4M3', shape: [8] })))
      .toMatch(/model\.norm\.weight has dtype F8_E4M3, accepted are F32, BF16, F16/);
    // A transposed Conv1D is a misshaped one.
    expect(message(GPT2, stored(GPT2).set('transformer.h.0.attn.c_attn.weight', { dtype: 'F32', shape: [24, 8] }))).toMatch(/is \[24, 8\], config\.json makes it \[8, 24\]/);
  });
});

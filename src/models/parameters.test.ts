import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { GraphBuilder } from '../graph/builder.ts';
import { shapeRules } from '../ops/index.ts';
import { sharedPath } from '../testing/shared.ts';
import { buildForward } from './index.ts';
import { parseModelConfig, type ModelConfig } from './model-config.ts';
import { countParameters, parameterList } from './parameters.ts';

type Row = Readonly<Record<string, string>>;

function modelRows(): readonly Row[] {
  const [header = [], ...rows] = readFileSync(sharedPath('facts/models.csv'), 'utf8').trim().split('\n').map((line) => line.split(','));
  return rows.map((cells) => Object.fromEntries(header.map((name, index) => [name, cells[index] ?? ''])));
}

function configOf(row: Row): ModelConfig {
  const gpt2 = row['architecture'] === 'GPT2LMHeadModel';
  const size = (name: string): number => Number(row[name]);
  return parseModelConfig({
    architectures: [row['architecture']],
    vocab_size: size('vocab'),
    tie_word_embeddings: row['tied_embeddings'] === 'True',
    ...(gpt2
      ? { n_embd: size('hidden'), n_layer: size('layers'), n_head: size('heads'), n_inner: size('ffn'), n_positions: size('max_seq') }
      : {
        hidden_size: size('hidden'), num_hidden_layers: size('layers'), num_attention_heads: size('heads'), num_key_value_heads: size('kv_heads'),
        head_dim: size('head_dim'), intermediate_size: size('ffn'), max_position_embeddings: size('max_seq'),
      }),
  }, row['model'] ?? '');
}

const SUPPORTED = /^(Llama|Mistral|Qwen2|Qwen3)ForCausalLM$|^GPT2LMHeadModel$/;

describe('parameterList', () => {
  it('counts what was published for every model of the list that is built here', () => {
    const rows = modelRows().filter((row) => SUPPORTED.test(row['architecture'] ?? ''));
    expect(rows.length).toBeGreaterThanOrEqual(26);
    const exact = rows.filter((row) => /^\d+$/.test(row['total_params_published'] ?? ''));
    expect(exact.length).toBeGreaterThanOrEqual(20);
    for (const row of rows) expect(countParameters(configOf(row)), row['model']).toBe(Number(row['total_params_computed']));
    for (const row of exact) expect(countParameters(configOf(row)), row['model']).toBe(Number(row['total_params_published']));
  });

  it('is what the forward pass uses, each exactly under its name', () => {
    const variants: readonly object[] = [
      { model_type: 'llama', attention_bias: true, mlp_bias: true, num_key_value_heads: 2 },
      { model_type: 'llama', tie_word_embeddings: true },
      { model_type: 'qwen2', num_key_value_heads: 1 },
      { model_type: 'qwen3', head_dim: 6, num_key_value_heads: 2 },
      { model_type: 'mistral', num_key_value_heads: 4 },
      { model_type: 'gpt2', n_positions: 8 },
      { model_type: 'gpt2', tie_word_embeddings: false, n_inner: 20, n_positions: 8 },
    ];
    for (const variant of variants) {
      const sizes = (variant as { model_type: string }).model_type === 'gpt2'
        ? { n_embd: 16, n_layer: 2, n_head: 4 }
        : { hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 20 };
      const config = parseModelConfig({ ...sizes, vocab_size: 11, ...variant }, 'config.json');
      const builder = new GraphBuilder(shapeRules);
      buildForward(builder, config, { rows: 2, length: 8 });
      const used = builder.finish().values.filter((value) => value.storage === 'parameter');
      expect(used.map((value) => value.name).sort()).toEqual(parameterList(config).map((parameter) => parameter.name).sort());
    }
  });

  it('draws as transformers does', () => {
    const gpt2 = parseModelConfig({ model_type: 'gpt2', n_layer: 8, initializer_range: 0.02 }, 'config.json');
    const init = new Map(parameterList(gpt2).map((parameter) => [parameter.name, parameter.init]));
    expect(init.get('transformer.h.0.attn.c_attn.weight')).toEqual({ kind: 'normal', standardDeviation: 0.02 });
    expect(init.get('transformer.h.0.attn.c_proj.weight')).toEqual({ kind: 'normal', standardDeviation: 0.02 / 4 });
    expect(init.get('transformer.h.7.mlp.c_proj.weight')).toEqual({ kind: 'normal', standardDeviation: 0.02 / 4 });
    expect(init.get('transformer.h.0.mlp.c_proj.bias')).toEqual({ kind: 'zeros' });
    expect(init.get('transformer.ln_f.weight')).toEqual({ kind: 'ones' });
    const llama = parseModelConfig({ model_type: 'llama', initializer_range: 0.01, tie_word_embeddings: false }, 'config.json');
    expect(parameterList(llama).find(({ name }) => name === 'lm_head.weight')?.init).toEqual({ kind: 'normal', standardDeviation: 0.01 });
  });
});

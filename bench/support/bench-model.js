/** Models with random weights and rows of random token ids, made once per shape in a scratch folder. */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { initModel } from '../../dist/index.js';
import { SMOLLM2 } from './step-shapes.js';

const LLAMA = { architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5, initializer_range: 0.02, torch_dtype: 'float32' };

export const SHAPES = {
  'smollm2-135m': { ...LLAMA, ...SMOLLM2, max_position_embeddings: 8192 },
  'llama-3.2-1b': {
    ...LLAMA, hidden_size: 2048, intermediate_size: 8192, num_hidden_layers: 16, num_attention_heads: 32, num_key_value_heads: 8, vocab_size: 128256,
    tie_word_embeddings: true, max_position_embeddings: 8192, rope_theta: 500000, head_dim: 64,
  },
  'llama-2-7b': {
    ...LLAMA, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 32, vocab_size: 32000,
    tie_word_embeddings: false, max_position_embeddings: 4096,
  },
};

/** The model's folder. `dtype` is that of its files. */
export async function benchModel(scratch, name, dtype = 'float32') {
  const directory = join(scratch, `${name}-${dtype}`);
  if (existsSync(join(directory, 'config.json'))) return directory;
  const like = join(scratch, `${name}-config`);
  mkdirSync(like, { recursive: true });
  writeFileSync(join(like, 'config.json'), JSON.stringify(SHAPES[name]));
  await initModel({ directory, like, dtype });
  return directory;
}

/** A dataset of `rows` rows of `length` token ids; with `repeat`, the same rows over and over, so that a loss that falls means something. */
export function benchRows(scratch, { name, rows, length, repeat = rows }) {
  const vocabulary = SHAPES[name].vocab_size;
  const path = join(scratch, `rows-${name}-${rows}x${length}-${repeat}.jsonl`);
  const row = (index) => JSON.stringify({ input_ids: Array.from({ length }, (_, i) => (((index % repeat) * 7919 + i * 104729 + ((i * i) % 977) * 31) % (vocabulary - 10)) + 5) });
  writeFileSync(path, `${Array.from({ length: rows }, (_, index) => row(index)).join('\n')}\n`);
  return path;
}

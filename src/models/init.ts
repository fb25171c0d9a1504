/** A new model: the config.json of another one with other sizes, and random weights that are drawn chunk by chunk. */

import { FulltuneError } from '../base/errors.ts';
import { RandomStream } from '../base/random.ts';
import { elementCount } from '../graph/shape.ts';
import { parseModelConfig, type ModelConfig } from './model-config.ts';
import type { Parameter } from './parameters.ts';

/** What `init` can change, under their general names; undefined keeps the model's own. */
export interface SizeOverrides {
  readonly hidden_size?: number | undefined;
  readonly intermediate_size?: number | undefined;
  readonly num_hidden_layers?: number | undefined;
  readonly num_attention_heads?: number | undefined;
  readonly num_key_value_heads?: number | undefined;
  readonly head_dim?: number | undefined;
  readonly vocab_size?: number | undefined;
  readonly max_position_embeddings?: number | undefined;
  readonly tie_word_embeddings?: boolean | undefined;
}

/** GPT-2's own spellings; null: the size follows from others. */
const GPT2_NAMES: Readonly<Record<keyof SizeOverrides, string | null>> = {
  hidden_size: 'n_embd',
  intermediate_size: 'n_inner',
  num_hidden_layers: 'n_layer',
  num_attention_heads: 'n_head',
  num_key_value_heads: null,
  head_dim: null,
  vocab_size: 'vocab_size',
  max_position_embeddings: 'n_positions',
  tie_word_embeddings: 'tie_word_embeddings',
};

/** What `init` can change. */
export const SIZE_KEYS = Object.keys(GPT2_NAMES) as readonly (keyof SizeOverrides)[];

export interface LikeConfig {
  /** What to write as config.json. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly config: ModelConfig;
}

/**
 * `json` (a parsed config.json) with the sizes of `overrides`.
 * A `head_dim` in the file that equals hidden_size / heads follows these; token ids beyond a smaller vocabulary are dropped.
 * Throws `E_MODEL` when the result is not a model that can be built.
 */
export function likeConfig(json: unknown, overrides: SizeOverrides, where: string): LikeConfig {
  const before = parseModelConfig(json, where);
  const result: Record<string, unknown> = { ...(json as Record<string, unknown>) };
  for (const key of SIZE_KEYS) {
    const value = overrides[key];
    if (value === undefined) continue;
    const name = before.kind === 'gpt2' ? GPT2_NAMES[key] : key;
    if (name === null) {
      throw new FulltuneError('E_MODEL', `${key} ${value} cannot be set for a model of type gpt2: it follows from the other sizes`, { where });
    }
    if (before.kind === 'gpt2' && name !== key) delete result[key];
    result[name] = value;
  }
  const heads = overrides.num_attention_heads ?? before.heads;
  const width = overrides.hidden_size ?? before.width;
  if (before.kind === 'llama') {
    if (overrides.head_dim === undefined && before.headWidth * before.heads === before.width && before.headWidth !== width / heads) {
      if (before.modelType === 'qwen3') result['head_dim'] = width / heads;
      else delete result['head_dim'];
    }
    if (overrides.num_key_value_heads === undefined && before.keyValueHeads === before.heads) result['num_key_value_heads'] = heads;
    if (overrides.num_hidden_layers !== undefined && Array.isArray(result['layer_types'])) {
      result['layer_types'] = repeated(result['layer_types'], overrides.num_hidden_layers);
    }
  }
  if ('n_ctx' in result && overrides.max_position_embeddings !== undefined) result['n_ctx'] = overrides.max_position_embeddings;
  const vocabularySize = overrides.vocab_size ?? before.vocabularySize;
  const { bos, eos, pad } = before.ids;
  for (const [key, ids] of [['bos_token_id', [bos]], ['eos_token_id', eos], ['pad_token_id', [pad]]] as const) {
    if (ids.some((id) => id !== undefined && id >= vocabularySize)) result[key] = null;
  }
  return { json: result, config: parseModelConfig(result, where) };
}

/** The first layer's types continued to `count` layers. */
function repeated(types: readonly unknown[], count: number): readonly unknown[] {
  return Array.from({ length: count }, (_, layer) => types[layer % types.length]);
}

/** Elements drawn from one random stream. Part of the definition: another size gives other weights for one seed. */
export const CHUNK_ELEMENTS = 65536;

/**
 * Fresh values of parameter number `index` of the model: elements `offset` … `offset + count` of the flattened tensor, f32. Any piece can be
 * drawn without the others and pieces join without a seam, so that a tensor streams to disk and never exists whole.
 */
export function initialValues(parameter: Parameter, seed: number, index: number): (count: number, offset: number) => Float32Array {
  const size = elementCount(parameter.shape);
  return (count, offset) => {
    if (offset < 0 || count < 0 || offset + count > size) {
      throw new RangeError(`elements ${offset} … ${offset + count} of ${size} in ${parameter.name}`);
    }
    const values = new Float32Array(count);
    const { init } = parameter;
    switch (init.kind) {
      case 'zeros':
        return values;
      case 'ones':
        return values.fill(1);
      case 'normal':
        for (let start = offset - (offset % CHUNK_ELEMENTS); start < offset + count; start += CHUNK_ELEMENTS) {
          // A stream per (parameter, chunk); 2^31 chunks of 2^16 elements are more than a tensor can have.
          const stream = new RandomStream(seed, index * 2 ** 31 + start / CHUNK_ELEMENTS);
          const end = Math.min(start + CHUNK_ELEMENTS, offset + count);
          for (let at = start; at < end; at++) {
            const value = init.standardDeviation * stream.normal();
            if (at >= offset) values[at - offset] = value;
          }
        }
        return values;
      default:
        return init satisfies never;
    }
  };
}

/**
 * What a model is: Hugging Face's config.json as a checked description. Every key is used, known to be harmless, or refused by name, because
 * a key that is dropped silently is a model that is trained wrongly. Absent keys take the defaults of the family's class in transformers 5.
 */

import { FulltuneError } from '../base/errors.ts';
import type { DType } from '../graph/dtype.ts';
import { ConfigReader, shown } from './config-reader.ts';
import { ARCHITECTURES, FAMILY_DEFAULTS, type LlamaType } from './families.ts';
import { HARMLESS_KEYS } from './harmless-keys.ts';
import { readRope, type Rope } from './rope.ts';
import { readSlidingWindow } from './sliding-window.ts';

/** Tokens with a meaning to data and generation. */
export interface SpecialIds {
  readonly bos: number | undefined;
  readonly eos: readonly number[];
  readonly pad: number | undefined;
}

interface CommonConfig {
  readonly modelType: string;
  /** V */
  readonly vocabularySize: number;
  /** D */
  readonly width: number;
  /** L */
  readonly layers: number;
  /** H */
  readonly heads: number;
  /** G; H / G query heads share one key/value head. */
  readonly keyValueHeads: number;
  /** K */
  readonly headWidth: number;
  /** F */
  readonly feedForwardWidth: number;
  /** Longest sequence that the model was made for. */
  readonly maxPositions: number;
  /** The head is the transposed embedding: one tensor, two uses. */
  readonly tiedHead: boolean;
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
  readonly ids: SpecialIds;
  /** Element type that the file says its weights have; the weights themselves decide. */
  readonly dtype: DType | undefined;
  /** What the user should be told once, such as a dropout that is not applied. */
  readonly notices: readonly string[];
}

/** Llama and its kin: RMSNorm before each part, rotary positions, grouped key/value heads, SwiGLU. */
export interface LlamaConfig extends CommonConfig {
  readonly kind: 'llama';
  readonly modelType: LlamaType;
  readonly rmsNormEpsilon: number;
  readonly rope: Rope;
  /** Biases of the query, key and value projections (Qwen2). */
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** RMSNorm over each query and key head (Qwen3). */
  readonly qkNorm: boolean;
  /** Some layer sees only so many tokens back. Rows up to this long are not touched by it. */
  readonly slidingWindow: number | undefined;
}

/** GPT-2: LayerNorm before each part, learned positions, one fused q/k/v product, GELU. */
export interface Gpt2Config extends CommonConfig {
  readonly kind: 'gpt2';
  readonly modelType: 'gpt2';
  readonly layerNormEpsilon: number;
  /** The tanh approximation (`gelu_new`) or the exact function. */
  readonly activation: 'gelu-tanh' | 'gelu';
  /** Attention scores are divided by √K. */
  readonly scaleByHeadWidth: boolean;
  /** … and by the layer's number, from 1. */
  readonly scaleByLayer: boolean;
}

export type ModelConfig = LlamaConfig | Gpt2Config;

/**
 * Checks `json` (the parsed config.json) and describes the model. `where` names the file in messages.
 * Throws `E_MODEL` for an unknown architecture, an unknown key, a value that is not supported, or sizes that do not fit one another.
 */
export function parseModelConfig(json: unknown, where: string): ModelConfig {
  const reader = new ConfigReader(json, where);
  reader.only('quantization_config', [], 'quantised weights cannot be trained; take the model in bf16, f16 or f32');
  reader.only('auto_map', [], 'the model brings code of its own, which is not run here');
  reader.only('per_layer_config', [], 'layers that differ from one another are not supported');
  reader.only('is_encoder_decoder', [false], 'only decoders are supported');
  reader.only('is_decoder', [false, true], 'only decoders are supported');
  reader.only('add_cross_attention', [false], 'cross-attention is not supported');
  reader.only('tie_encoder_decoder', [false], 'only decoders are supported');
  reader.only('pruned_heads', [{}], 'pruned heads are not supported');
  const type = readModelType(reader);
  const config = type === 'gpt2' ? readGpt2(reader) : readLlama(reader, type);
  reader.finish(new Set(HARMLESS_KEYS.keys()));
  return config;
}

/** The longest row that the model can take here: its positions, or less when a layer sees only so many tokens back. */
export function longestRow(config: ModelConfig): number {
  const window = config.kind === 'llama' ? config.slidingWindow : undefined;
  return Math.min(config.maxPositions, window ?? config.maxPositions);
}

/**
 * Refuses rows of `length` tokens that the model as built here would compute wrongly: longer than its sliding window or its table of
 * positions. Returns what should be said about the rest.
 */
export function checkLength(config: ModelConfig, length: number): readonly string[] {
  if (config.kind === 'llama' && config.slidingWindow !== undefined && length > config.slidingWindow) {
    const problem = `rows of ${length} tokens exceed the model's sliding_window of ${config.slidingWindow}, and windowed attention is not built in`;
    throw new FulltuneError('E_MODEL', problem, { where: 'max_length', remedy: `Set max_length to ${config.slidingWindow} or less.` });
  }
  if (length <= config.maxPositions) return [];
  if (config.kind === 'gpt2') {
    throw new FulltuneError('E_MODEL', `rows of ${length} tokens exceed the model's table of ${config.maxPositions} positions`, {
      where: 'max_length', remedy: `Set max_length to ${config.maxPositions} or less.`,
    });
  }
  return [`rows of ${length} tokens are longer than the ${config.maxPositions} that the model was made for (max_position_embeddings)`];
}

function readModelType(reader: ConfigReader): LlamaType | 'gpt2' {
  const supported = `Supported: ${[...ARCHITECTURES.keys()].join(', ')}.`;
  const architectures = reader.raw('architectures') ?? undefined;
  const modelType = reader.raw('model_type') ?? undefined;
  if (architectures === undefined) {
    if (modelType === undefined) reader.fail('neither architectures nor model_type says what this model is', supported);
    const known = [...ARCHITECTURES.values()].find((type) => type === modelType);
    return known ?? reader.fail(`model_type ${shown(modelType)} is not supported`, supported);
  }
  const name: unknown = Array.isArray(architectures) && architectures.length === 1 ? architectures[0] : undefined;
  const type = typeof name === 'string' ? ARCHITECTURES.get(name) : undefined;
  if (type === undefined) reader.fail(`the architecture ${shown(architectures)} is not supported`, supported);
  if (modelType !== undefined && modelType !== type) reader.fail(`architectures says ${shown(name)} but model_type says ${shown(modelType)}`);
  return type;
}

function readLlama(reader: ConfigReader, type: LlamaType): LlamaConfig {
  const defaults = FAMILY_DEFAULTS[type];
  const width = reader.size('hidden_size', 4096);
  const layers = reader.size('num_hidden_layers', 32);
  const heads = reader.size('num_attention_heads', 32);
  const absentKeyValueHeads = reader.has('num_key_value_heads') ? undefined : defaults.keyValueHeads;
  const keyValueHeads = reader.optionalSize('num_key_value_heads') ?? absentKeyValueHeads ?? heads;
  const givenHeadWidth = reader.optionalSize('head_dim') ?? defaults.headWidth;
  if ((givenHeadWidth === undefined || type === 'llama') && width % heads !== 0) {
    reader.fail(`hidden_size ${width} is not a multiple of num_attention_heads ${heads}`);
  }
  const headWidth = givenHeadWidth ?? width / heads;
  if (heads % keyValueHeads !== 0) reader.fail(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${keyValueHeads}`);
  if (headWidth % 2 !== 0) reader.fail(`head_dim ${headWidth} is odd; rotary positions need pairs`);

  reader.choice('hidden_act', ['silu', 'swish'], 'silu');
  const notices = readDropout(reader, ['attention_dropout', 'hidden_dropout']);
  const maxPositions = reader.size('max_position_embeddings', defaults.maxPositions);
  reader.only('use_mrope', [false], 'rotary positions in several dimensions are not supported');
  const attentionBias = type === 'llama' || type === 'qwen3' ? reader.flag('attention_bias', false) : false;
  if (type === 'mistral') reader.only('attention_bias', [false], 'Mistral has no biases');
  if (type === 'qwen2') reader.only('attention_bias', [true], 'Qwen2 always has biases of q, k and v');
  if (type !== 'llama') reader.only('mlp_bias', [false], 'only Llama has biases in its feed-forward part');
  return {
    kind: 'llama',
    modelType: type,
    width,
    layers,
    heads,
    keyValueHeads,
    headWidth,
    vocabularySize: reader.size('vocab_size', defaults.vocabularySize),
    feedForwardWidth: reader.size('intermediate_size', defaults.feedForwardWidth),
    maxPositions,
    tiedHead: reader.flag('tie_word_embeddings', false),
    initializerRange: reader.number('initializer_range', 0.02, 0),
    ids: readIds(reader, defaults.bos, defaults.eos),
    dtype: readDType(reader),
    rmsNormEpsilon: reader.number('rms_norm_eps', 1e-6, 0),
    rope: readRope(reader, maxPositions),
    qkvBias: type === 'qwen2' || attentionBias,
    outputBias: attentionBias,
    mlpBias: type === 'llama' ? reader.flag('mlp_bias', false) : false,
    qkNorm: type === 'qwen3',
    slidingWindow: readSlidingWindow(reader, type, layers),
    notices,
  };
}

function readGpt2(reader: ConfigReader): Gpt2Config {
  // GPT-2's own names, and the general ones that stand for them (attribute_map).
  const size = (own: string, general: string, fallback: number): number => {
    const named = reader.optionalSize(own);
    const other = reader.optionalSize(general);
    if (named !== undefined && other !== undefined && named !== other) reader.fail(`${own} is ${named} but ${general} is ${other}`);
    return named ?? other ?? fallback;
  };
  const width = size('n_embd', 'hidden_size', 768);
  const heads = size('n_head', 'num_attention_heads', 12);
  if (width % heads !== 0) reader.fail(`n_embd ${width} is not a multiple of n_head ${heads}`);
  const activation = reader.choice('activation_function', ['gelu_new', 'gelu_pytorch_tanh', 'gelu'], 'gelu_new');
  return {
    kind: 'gpt2',
    modelType: 'gpt2',
    width,
    heads,
    keyValueHeads: heads,
    headWidth: width / heads,
    layers: size('n_layer', 'num_hidden_layers', 12),
    vocabularySize: reader.size('vocab_size', 50257),
    feedForwardWidth: reader.optionalSize('n_inner') ?? 4 * width,
    maxPositions: size('n_positions', 'max_position_embeddings', 1024),
    tiedHead: reader.flag('tie_word_embeddings', true),
    initializerRange: reader.number('initializer_range', 0.02, 0),
    ids: readIds(reader, 50256, 50256),
    dtype: readDType(reader),
    layerNormEpsilon: reader.number('layer_norm_epsilon', 1e-5, 0),
    activation: activation === 'gelu' ? 'gelu' : 'gelu-tanh',
    scaleByHeadWidth: reader.flag('scale_attn_weights', true),
    scaleByLayer: reader.flag('scale_attn_by_inverse_layer_idx', false),
    // Absent, transformers takes 0.1 for each of the three; a file that is silent about dropout is not one to warn about.
    notices: readDropout(reader, ['attn_pdrop', 'embd_pdrop', 'resid_pdrop']),
  };
}

/** The special tokens. `fallback`s are the family's when the key is absent; null means that there is none. */
function readIds(reader: ConfigReader, bos: number | undefined, eos: number | undefined): SpecialIds {
  return { bos: reader.tokenId('bos_token_id', bos), eos: reader.tokenIds('eos_token_id', eos), pad: reader.tokenId('pad_token_id') };
}

function readDropout(reader: ConfigReader, keys: readonly string[]): readonly string[] {
  const applied = keys.flatMap((key) => {
    const rate = reader.number(key, 0, 0);
    return rate > 0 ? [`${key} ${rate}`] : [];
  });
  return applied.length === 0 ? [] : [`the model's config.json asks for dropout (${applied.join(', ')}); training here goes without dropout`];
}

const DTYPE_NAMES = ['float32', 'bfloat16', 'float16'] as const;
const DTYPE_OF: Readonly<Record<(typeof DTYPE_NAMES)[number], DType>> = { float32: 'f32', bfloat16: 'bf16', float16: 'f16' };

function readDType(reader: ConfigReader): DType | undefined {
  const spelt = ['dtype', 'torch_dtype'].filter((key) => (reader.raw(key) ?? undefined) !== undefined);
  const key = spelt[0];
  return key === undefined ? undefined : DTYPE_OF[reader.choice(key, DTYPE_NAMES, 'float32')];
}

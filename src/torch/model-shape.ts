/**
 * What an estimate knows of a model: its sizes, and how its block is built in transformers, which decides what autograd saves. Wider than
 * `models/`, whose families the embedded engine trains: PyTorch trains more of them.
 */

import type { ModelConfig } from '../models/model-config.ts';

/** How a block is built. */
export interface BlockFeatures {
  /** `rms`: the f32 copy and the normed value are saved; `rms-f32`: both in f32 whatever the type of activations; `layer`: one fused op saves its input. */
  readonly norm: 'rms' | 'rms-f32' | 'layer';
  /** `before` each part; `after` it; `both`; `parallel`: before, both parts reading the same stream. */
  readonly normPlace: 'before' | 'after' | 'both' | 'parallel';
  /** RMSNorm over each query and key head, or over all of them at once. */
  readonly qkNorm: 'none' | 'head' | 'width';
  /** `separate` products; `fused` into one, of which q, k and v stay views; `fused-rotary`: v stays a view of it, while q and k are made anew. */
  readonly qkv: 'separate' | 'fused' | 'fused-rotary';
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** `gated`: gate, up, down; `gated-fused`: gate and up in one product; else up, an activation (`gelu-tanh` is written out in several ops), down. */
  readonly mlp: 'gated' | 'gated-fused' | 'gelu-tanh' | 'gelu' | 'relu';
  /** Scores pass through a tanh before the softmax, which rules the fused kernels out. */
  readonly softCap: boolean;
  /** Dropout that is active in training: its masks are saved. */
  readonly dropout: boolean;
}

export interface ModelShape {
  readonly name: string;
  /** D */
  readonly width: number;
  /** L */
  readonly layers: number;
  /** H */
  readonly heads: number;
  /** G */
  readonly keyValueHeads: number;
  /** K */
  readonly headWidth: number;
  /** F */
  readonly feedForwardWidth: number;
  /** V */
  readonly vocabularySize: number;
  /** Longest sequence that the model was made for. */
  readonly maxPositions: number;
  /** Rows of a learned table of positions; 0: rotary. */
  readonly learnedPositions: number;
  readonly tiedHead: boolean;
  /** Feed-forward parts per layer, of which each token uses `activeExperts`. */
  readonly experts: number;
  readonly activeExperts: number;
  readonly features: BlockFeatures;
  /** What is outside blocks, embedding, final norm and head. */
  readonly otherParameters: number;
}

const LLAMA: BlockFeatures = {
  norm: 'rms', normPlace: 'before', qkNorm: 'none', qkv: 'separate', qkvBias: false, outputBias: false, mlpBias: false, mlp: 'gated', softCap: false, dropout: false,
};
const BIASED: BlockFeatures = { ...LLAMA, norm: 'layer', qkvBias: true, outputBias: true, mlpBias: true };

/** Blocks as transformers 5 builds them, by architecture. */
export const ARCHITECTURE_FEATURES = {
  LlamaForCausalLM: LLAMA,
  MistralForCausalLM: LLAMA,
  MixtralForCausalLM: LLAMA,
  Qwen2ForCausalLM: { ...LLAMA, qkvBias: true },
  Qwen3ForCausalLM: { ...LLAMA, qkNorm: 'head' },
  Olmo2ForCausalLM: { ...LLAMA, norm: 'rms-f32', normPlace: 'after', qkNorm: 'width' },
  Gemma2ForCausalLM: { ...LLAMA, norm: 'rms-f32', normPlace: 'both', softCap: true },
  Phi3ForCausalLM: { ...LLAMA, qkv: 'fused-rotary', mlp: 'gated-fused' },
  GPTNeoXForCausalLM: { ...BIASED, normPlace: 'parallel', qkv: 'fused-rotary', mlp: 'gelu' },
  GPT2LMHeadModel: { ...BIASED, qkv: 'fused', mlp: 'gelu-tanh' },
  OPTForCausalLM: { ...BIASED, mlp: 'relu' },
} as const satisfies Readonly<Record<string, BlockFeatures>>;

export type Architecture = keyof typeof ARCHITECTURE_FEATURES;

/** The shape of a model whose config.json was read. */
export function shapeOfConfig(name: string, config: ModelConfig): ModelShape {
  const { width, layers, heads, keyValueHeads, headWidth, feedForwardWidth, vocabularySize, maxPositions, tiedHead } = config;
  const common = { name, width, layers, heads, keyValueHeads, headWidth, feedForwardWidth, vocabularySize, maxPositions, tiedHead, experts: 1, activeExperts: 1, otherParameters: 0 };
  if (config.kind === 'gpt2') {
    const features: BlockFeatures = { ...ARCHITECTURE_FEATURES.GPT2LMHeadModel, mlp: config.activation };
    return { ...common, learnedPositions: maxPositions, features };
  }
  const { qkvBias, outputBias, mlpBias, qkNorm } = config;
  return { ...common, learnedPositions: 0, features: { ...LLAMA, qkvBias, outputBias, mlpBias, qkNorm: qkNorm ? 'head' : 'none' } };
}

export interface ParameterCounts {
  /** P */
  readonly total: number;
  /** Of one block. */
  readonly layer: number;
  /** Embedding, positions, final norm, head: what is in no block. */
  readonly outside: number;
  /** V × D. */
  readonly embedding: number;
  /** Of one block's matrices, which low precision copies; norms and biases stay. */
  readonly layerMatrices: number;
  /** Parameters that each token is multiplied by: all, but for experts that it does not visit. */
  readonly active: number;
  readonly largest: number;
}

const counted = new WeakMap<ModelShape, ParameterCounts>();

/** Counted from the shape; equal to what transformers counts. A search asks many times for the same shape. */
export function countShape(shape: ModelShape): ParameterCounts {
  const known = counted.get(shape);
  if (known !== undefined) return known;
  const counts = count(shape);
  counted.set(shape, counts);
  return counts;
}

function count(shape: ModelShape): ParameterCounts {
  const { width: D, heads: H, keyValueHeads: G, headWidth: K, feedForwardWidth: F, vocabularySize: V, features, experts } = shape;
  const perNorm = features.norm === 'layer' ? 2 * D : D;
  const norms = (features.normPlace === 'both' ? 4 : 2) * perNorm;
  const qkNorm = features.qkNorm === 'head' ? 2 * K : features.qkNorm === 'width' ? (H + G) * K : 0;
  const attention = D * (H + 2 * G) * K + H * K * D;
  const attentionBias = (features.qkvBias ? (H + 2 * G) * K : 0) + (features.outputBias ? D : 0);
  const isGated = features.mlp === 'gated' || features.mlp === 'gated-fused';
  const expert = (isGated ? 3 : 2) * D * F;
  const mlpBias = features.mlpBias ? (isGated ? 2 : 1) * F + D : 0;
  const router = experts > 1 ? D * experts : 0;
  const layerMatrices = attention + experts * expert + router;
  const layer = layerMatrices + norms + qkNorm + attentionBias + experts * mlpBias;
  const embedding = V * D;
  const outside = embedding + shape.learnedPositions * D + perNorm + (shape.tiedHead ? 0 : embedding) + shape.otherParameters;
  const total = outside + shape.layers * layer;
  return {
    total, layer, outside, embedding, layerMatrices,
    active: total - shape.layers * (experts - shape.activeExperts) * (expert + mlpBias),
    largest: Math.max(embedding, D * F, attention / 2),
  };
}

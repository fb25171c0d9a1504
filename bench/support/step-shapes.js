/** What `step` measures: the configs are transformers' own, so that the peers build the same models. */

import { blockInputsOnly } from './ladder.js';

/**
 * @typedef {object} StepShape
 * @property {string} title
 * @property {number} rows
 * @property {number} length
 * @property {Record<string, unknown>} config
 * @property {'plain' | 'lean' | 'recompute bf16'} plan how fulltune runs it: `lean` projects the loss one token block at a time and makes swiglu's values again
 * @property {number} rounds at most
 */

const LLAMA = { architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5, tie_word_embeddings: true, max_position_embeddings: 2048 };

/** SmolLM2-135M. */
export const SMOLLM2 = {
  ...LLAMA, hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3, vocab_size: 49152, rope_theta: 100000,
};

/** Llama 3.1 70B, for planning alone. */
export const LLAMA_70B = {
  ...LLAMA, hidden_size: 8192, intermediate_size: 28672, num_hidden_layers: 80, num_attention_heads: 64, num_key_value_heads: 8, vocab_size: 128256, rope_theta: 500000,
  tie_word_embeddings: false,
};

/** @type {Readonly<Record<string, StepShape>>} */
export const STEP_SHAPES = {
  a: {
    title: '10 M parameters, 4 x 256', rows: 4, length: 256, plan: 'plain', rounds: Infinity,
    config: { ...LLAMA, hidden_size: 256, intermediate_size: 768, num_hidden_layers: 8, num_attention_heads: 8, num_key_value_heads: 8, vocab_size: 4096 },
  },
  b: {
    title: "SmolLM2-135M's shape, 1 x 512", rows: 1, length: 512, plan: 'lean', rounds: Infinity,
    config: SMOLLM2,
  },
  c: {
    title: "Qwen2.5-0.5B's shape, 1 x 1024, bf16, recompute", rows: 1, length: 1024, plan: 'recompute bf16', rounds: 5,
    config: {
      architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', hidden_act: 'silu', rms_norm_eps: 1e-6, tie_word_embeddings: true, max_position_embeddings: 32768, rope_theta: 1000000,
      hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24, num_attention_heads: 14, num_key_value_heads: 2, vocab_size: 151936,
    },
  },
};

/**
 * What of fulltune's training plan differs from the plainest one.
 * @param {StepShape} shape
 * @param {{ readonly least?: boolean, readonly blocks?: number | undefined }} [changes] recompute to block inputs, and each parameter updated as soon as its
 * gradient is there, without clipping; token blocks per slice of the loss
 */
export function planChanges({ plan, config }, { least = false, blocks } = {}) {
  const recomputes = least || plan === 'recompute bf16';
  const slices = blocks ?? (plan === 'plain' ? undefined : 1);
  return {
    ...(slices === undefined ? {} : { loss: { kind: 'chunked', blocks: slices } }),
    ...(recomputes ? { recompute: blockInputsOnly(config.num_hidden_layers) } : plan === 'lean' ? { recompute: { dropped: [{ value: 'mlp/swiglu', layers: config.num_hidden_layers }] } } : {}),
    ...(least ? { update: 'in-backward', maxGradNorm: 0 } : {}),
    ...(plan === 'recompute bf16' ? { precision: { activations: 'bf16', weights: 'f32' } } : {}),
  };
}

/**
 * FLOPs of a step as model FLOPs utilisation counts them: 6 per parameter and token, and the causal half of attention three times (forward once, backward
 * twice). What is computed again does not count.
 * @param {StepShape} shape
 */
export function modelFlops({ rows, length, config }) {
  const { hidden_size: width, intermediate_size: inner, num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: keyValueHeads, vocab_size: vocabulary } = config;
  const keyValueWidth = (width / heads) * keyValueHeads;
  const parameters = vocabulary * width + layers * (2 * width * width + 2 * width * keyValueWidth + 3 * width * inner);
  return rows * length * (6 * parameters + 6 * layers * length * width);
}

/**
 * Llama (Touvron et al. 2023) and its kin: Llama 2 and 3, SmolLM2, TinyLlama, Mistral, Qwen2 (biases of q, k, v), Qwen3 (norms of q and k).
 *
 *   x = embedding(ids)
 *   L times:   x = x + o(attention(rotary(q(n)), rotary(k(n)), v(n)))   n = rmsnorm(x)
 *              x = x + down(silu(gate(n)) · up(n))                      n = rmsnorm(x)
 *   logits = head(rmsnorm(x))
 */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { embedding } from '../ops/embedding.ts';
import { linear } from '../ops/matmul.ts';
import { add } from '../ops/pointwise.ts';
import { rmsNorm } from '../ops/rmsnorm.ts';
import { rotary, rotaryTable } from '../ops/rotary.ts';
import { swiglu } from '../ops/swiglu.ts';
import type { Attend, Decoder, Tokens } from './decoder.ts';
import type { LlamaConfig } from './model-config.ts';
import { weightSource } from './parameters.ts';
import { inverseFrequencies } from './rope.ts';

export function llama(b: GraphBuilder, config: LlamaConfig): Decoder {
  const weight = weightSource(b, config);
  const norm = (x: ValueId, name: string): ValueId => rmsNorm(b, x, weight(`${name}.weight`), { epsilon: config.rmsNormEpsilon });
  const project = (x: ValueId, name: string, biased: boolean): ValueId =>
    linear(b, x, weight(`${name}.weight`), biased ? weight(`${name}.bias`) : undefined);

  /** x [B,T,D] → [B,T,D]; rotation: cosines and sines [B,T,K] */
  function attentionPart(x: ValueId, layer: number, rotation: ValueId, attend: Attend): ValueId {
    const path = `model.layers.${layer}`;
    const n = norm(x, `${path}.input_layernorm`);
    const q = project(n, `${path}.self_attn.q_proj`, config.qkvBias); // [B,T,H·K]
    const k = project(n, `${path}.self_attn.k_proj`, config.qkvBias); // [B,T,G·K]
    const v = project(n, `${path}.self_attn.v_proj`, config.qkvBias);
    const mixed = attend(layer, {
      q: rotary(b, config.qkNorm ? norm(q, `${path}.self_attn.q_norm`) : q, rotation),
      k: rotary(b, config.qkNorm ? norm(k, `${path}.self_attn.k_norm`) : k, rotation),
      v,
      scale: 1 / Math.sqrt(config.headWidth),
    });
    return add(b, x, project(mixed, `${path}.self_attn.o_proj`, config.outputBias));
  }

  /** x [B,T,D] → [B,T,D] through F features */
  function mlpPart(x: ValueId, layer: number): ValueId {
    const path = `model.layers.${layer}`;
    const n = norm(x, `${path}.post_attention_layernorm`);
    const gate = project(n, `${path}.mlp.gate_proj`, config.mlpBias);
    const up = project(n, `${path}.mlp.up_proj`, config.mlpBias);
    return add(b, x, project(swiglu(b, gate, up), `${path}.mlp.down_proj`, config.mlpBias));
  }

  function blocks({ ids, positions }: Tokens, attend: Attend): ValueId {
    const rotation = b.scope('rotary', () => {
      const frequencies = b.constant('rotary.inverse_frequencies', 'f32', inverseFrequencies(config.rope, config.headWidth));
      return rotaryTable(b, positions, frequencies, { scaling: 1 });
    });
    let x = b.scope('embedding', () => embedding(b, ids, weight('model.embed_tokens.weight')));
    for (let layer = 0; layer < config.layers; layer++) {
      const input = x;
      const middle = b.scope(`layers.${layer}.attention`, () => attentionPart(input, layer, rotation, attend));
      x = b.scope(`layers.${layer}.mlp`, () => mlpPart(middle, layer));
    }
    return x;
  }

  function head(x: ValueId): { hidden: ValueId; logits: ValueId } {
    return b.scope('head', () => {
      const hidden = norm(x, 'model.norm');
      return { hidden, logits: linear(b, hidden, weight(config.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight')) };
    });
  }

  return { blocks, head };
}

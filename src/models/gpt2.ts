/**
 * GPT-2 (Radford et al. 2019).
 *
 *   x = token(ids) + position(positions)
 *   L times:   x = x + c_proj(attention(c_attn(n)))   n = layernorm(x)
 *              x = x + c_proj(gelu(c_fc(n)))          n = layernorm(x)
 *   logits = head(layernorm(x))
 */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { embedding } from '../ops/embedding.ts';
import { gelu } from '../ops/gelu.ts';
import { layerNorm } from '../ops/layernorm.ts';
import { conv1d, linear } from '../ops/matmul.ts';
import { add, slice } from '../ops/pointwise.ts';
import type { Attend, Decoder, Tokens } from './decoder.ts';
import type { Gpt2Config } from './model-config.ts';
import { weightSource } from './parameters.ts';

export function gpt2(b: GraphBuilder, config: Gpt2Config): Decoder {
  const weight = weightSource(b, config);
  const norm = (x: ValueId, name: string): ValueId =>
    layerNorm(b, x, weight(`${name}.weight`), weight(`${name}.bias`), { epsilon: config.layerNormEpsilon });
  const project = (x: ValueId, name: string): ValueId => conv1d(b, x, weight(`${name}.weight`), weight(`${name}.bias`));
  const scale = (layer: number): number => (config.scaleByHeadWidth ? 1 / Math.sqrt(config.headWidth) : 1) / (config.scaleByLayer ? layer + 1 : 1);

  /** x [B,T,D] → [B,T,D] */
  function attentionPart(x: ValueId, layer: number, attend: Attend): ValueId {
    const path = `transformer.h.${layer}`;
    const qkv = project(norm(x, `${path}.ln_1`), `${path}.attn.c_attn`); // [B,T,3·D]
    const part = (index: number): ValueId => slice(b, qkv, { offset: index * config.width, width: config.width });
    const mixed = attend(layer, { q: part(0), k: part(1), v: part(2), scale: scale(layer) });
    return add(b, x, project(mixed, `${path}.attn.c_proj`));
  }

  /** x [B,T,D] → [B,T,D] through F features */
  function mlpPart(x: ValueId, layer: number): ValueId {
    const path = `transformer.h.${layer}`;
    const features = project(norm(x, `${path}.ln_2`), `${path}.mlp.c_fc`); // [B,T,F]
    const active = gelu(b, features, { approximate: config.activation === 'gelu-tanh' ? 'tanh' : 'none' });
    return add(b, x, project(active, `${path}.mlp.c_proj`));
  }

  function blocks({ ids, positions }: Tokens, attend: Attend): ValueId {
    let x = b.scope('embedding', () =>
      add(b, embedding(b, ids, weight('transformer.wte.weight')), embedding(b, positions, weight('transformer.wpe.weight'))));
    for (let layer = 0; layer < config.layers; layer++) {
      const input = x;
      const middle = b.scope(`layers.${layer}.attention`, () => attentionPart(input, layer, attend));
      x = b.scope(`layers.${layer}.mlp`, () => mlpPart(middle, layer));
    }
    return x;
  }

  function head(x: ValueId): { hidden: ValueId; logits: ValueId } {
    return b.scope('head', () => {
      const hidden = norm(x, 'transformer.ln_f');
      return { hidden, logits: linear(b, hidden, weight(config.tiedHead ? 'transformer.wte.weight' : 'lm_head.weight')) };
    });
  }

  return { blocks, head };
}

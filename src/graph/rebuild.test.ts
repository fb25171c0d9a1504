/** On real models (graph/ itself knows none). */

import { describe, expect, it } from 'vitest';
import { buildCached, buildForward } from '../models/index.ts';
import { parseModelConfig } from '../models/model-config.ts';
import { cast } from '../ops/cast.ts';
import { gelu } from '../ops/gelu.ts';
import { shapeRules } from '../ops/index.ts';
import { linear } from '../ops/matmul.ts';
import { GraphBuilder } from './builder.ts';
import type { Graph } from './graph.ts';
import { rebuild } from './rebuild.ts';
import { verifyGraph } from './verify.ts';

const llama = parseModelConfig({
  architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, head_dim: 4,
  num_key_value_heads: 2, vocab_size: 40, tie_word_embeddings: true, max_position_embeddings: 64, rms_norm_eps: 1e-5, hidden_act: 'silu',
}, 'test');
const gpt2 = parseModelConfig({
  architectures: ['GPT2LMHeadModel'], model_type: 'gpt2', n_embd: 16, n_layer: 2, n_head: 4, n_positions: 64, vocab_size: 40, layer_norm_epsilon: 1e-5, activation_function: 'gelu_new',
}, 'test');

function graphOf(build: (builder: GraphBuilder) => unknown): Graph {
  const builder = new GraphBuilder(shapeRules);
  build(builder);
  return builder.finish();
}

describe('rebuild', () => {
  it.each([
    ['llama', graphOf((b) => buildForward(b, llama, { rows: 2, length: 8 }))],
    ['gpt2', graphOf((b) => buildForward(b, gpt2, { rows: 2, length: 8 }))],
    ['llama over a cache', graphOf((b) => buildCached(b, llama, { length: 3, capacity: 16 }))],
  ])('copies %s as it is when there are no hooks', (_name, graph) => {
    expect(rebuild(graph, shapeRules)).toEqual(graph);
  });

  it('copies phases, effects and values that are kept', () => {
    const graph = graphOf((b) => {
      const x = b.input('x', 'f32', 2, 3);
      const [y] = b.node('gelu', [x], { tanh: 0 }, { phase: 'recompute', scope: 'a.b', names: ['mine'], effect: true });
      b.keep(gelu(b, y!, { approximate: 'none' }), 'kept', 'gradient');
    });
    const copy = rebuild(graph, shapeRules);
    expect(copy).toEqual(graph);
    expect(copy.nodes[0]).toMatchObject({ phase: 'recompute', scope: 'a.b', effect: true });
  });

  it('lets types spread from what hooks change, and puts what they add where the node stands', () => {
    const graph = graphOf((b) => {
      const x = b.input('x', 'f32', 1, 2, 4);
      const y = b.scope('layer', () => gelu(b, linear(b, x, b.parameter('w', 'f32', 3, 4)), { approximate: 'none' }));
      b.output('y', y);
    });
    const copy = rebuild(graph, shapeRules, {
      dtype: ({ storage }) => (storage === 'parameter' ? 'bf16' : 'f32'),
      inputs: (builder, { op }, inputs) => (op === 'matmul_nt' ? [cast(builder, inputs[0]!, 'f16'), inputs[1]!] : inputs),
      outputs: (builder, { op }, outputs) => (op === 'gelu' ? outputs.map((id) => cast(builder, id, 'f32')) : outputs),
    });
    verifyGraph(copy, shapeRules);
    expect(copy.nodes.map(({ op, scope, outputs }) => `${scope} ${op} ${copy.values[outputs[0]!]!.dtype}`)).toEqual(
      ['layer cast f16', 'layer matmul_nt f16', 'layer gelu f16', 'layer cast f32']);
    expect(copy.values.find(({ name }) => name === 'w')).toMatchObject({ dtype: 'bf16', storage: 'parameter', persistent: true });
    expect(copy.values[copy.outputs['y']!]).toMatchObject({ dtype: 'f32', name: 'layer/cast' });
  });

  it('drops values that nobody makes any more', () => {
    const graph = graphOf((b) => {
      const x = b.input('x', 'f32', 2);
      gelu(b, x, { approximate: 'none' });
      b.output('y', gelu(b, x, { approximate: 'tanh' }));
    });
    const copy = rebuild({ ...graph, nodes: graph.nodes.slice(1) }, shapeRules);
    expect(copy.values.map(({ name }) => name)).toEqual(['x', 'gelu']);
    verifyGraph(copy, shapeRules);
  });
});

/** The two graphs of a model: rows with a loss, for training and evaluation; and tokens over a key/value cache, for generate. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { attentionCached, cacheWrite, selectToken } from '../ops/attention-cached.ts';
import { attention } from '../ops/attention.ts';
import { crossEntropy } from '../ops/cross-entropy.ts';
import type { Attend, Decoder } from './decoder.ts';
import { gpt2 } from './gpt2.ts';
import { llama } from './llama.ts';
import { checkLength, type ModelConfig } from './model-config.ts';

/** The blocks and the head of the model that `config` describes. */
export function modelFor(builder: GraphBuilder, config: ModelConfig): Decoder {
  switch (config.kind) {
    case 'llama':
      return llama(builder, config);
    case 'gpt2':
      return gpt2(builder, config);
    default:
      return config satisfies never;
  }
}

/** B and T of a micro-batch. */
export interface RowShape {
  readonly rows: number;
  readonly length: number;
}

/** T of one run, and how many tokens the caches hold in all. */
export interface CachedShape {
  readonly length: number;
  readonly capacity: number;
}

export interface ForwardValues {
  /** [B,T,D], what the output projection reads. */
  readonly hidden: ValueId;
  /** [B,T,V] */
  readonly logits: ValueId;
  /** f32 [B]: lossWeight · Σ over the row's labelled tokens of −log p(label). Also the graph's output `loss`. */
  readonly rowLoss: ValueId;
}

/**
 * Rows of `length` tokens with their loss. Inputs: ids, labels (< 0: ignored; already shifted), positions, documentStart, i32 [B,T]; and
 * lossWeight f32 [1], one over the labelled tokens of the update. Throws `E_MODEL` for a length that the model cannot take.
 */
export function buildForward(builder: GraphBuilder, config: ModelConfig, shape: RowShape): ForwardValues {
  checkLength(config, shape.length);
  const input = (name: string): ValueId => builder.input(name, 'i32', shape.rows, shape.length);
  const ids = input('ids');
  const labels = input('labels');
  const positions = input('positions');
  const documentStart = input('documentStart');
  const lossWeight = builder.input('lossWeight', 'f32', 1);

  const { heads, keyValueHeads, headWidth } = config;
  const withinDocument: Attend = (_layer, values) => attention(builder, { ...values, documentStart, heads, keyValueHeads, headWidth });
  const model = modelFor(builder, config);
  const { hidden, logits } = model.head(model.blocks({ ids, positions }, withinDocument));
  const rowLoss = builder.scope('loss', () => crossEntropy(builder, { logits, labels, lossWeight }));
  builder.output('loss', rowLoss);
  return { hidden, logits, rowLoss };
}

/**
 * `length` more tokens of one sequence after the `cacheLength` that the caches hold. Inputs: ids, positions i32 [1,T], cacheLength i32 [1],
 * lastIndex i32 [1] (which of the tokens is the last real one). Persistent: `cache.layers.<n>.key` and `.value`, f32 [1,capacity,G·K].
 * Output `logits` f32 [1,1,V], after token lastIndex. Throws `E_MODEL` for a capacity that the model cannot take.
 */
export function buildCached(builder: GraphBuilder, config: ModelConfig, shape: CachedShape): { readonly logits: ValueId } {
  checkLength(config, shape.capacity);
  const ids = builder.input('ids', 'i32', 1, shape.length);
  const positions = builder.input('positions', 'i32', 1, shape.length);
  const cacheLength = builder.input('cacheLength', 'i32', 1);
  const lastIndex = builder.input('lastIndex', 'i32', 1);

  const { heads, keyValueHeads, headWidth } = config;
  const cache = (layer: number, part: 'key' | 'value'): ValueId =>
    builder.persistent(`cache.layers.${layer}.${part}`, 'cache', { dtype: 'f32', shape: [1, shape.capacity, keyValueHeads * headWidth] });
  const overCache: Attend = (layer, { q, k, v, scale }) => {
    const kCache = cacheWrite(builder, cache(layer, 'key'), k, cacheLength);
    const vCache = cacheWrite(builder, cache(layer, 'value'), v, cacheLength);
    return attentionCached(builder, { q, kCache, vCache, cacheLength, heads, keyValueHeads, headWidth, scale });
  };
  const model = modelFor(builder, config);
  const x = model.blocks({ ids, positions }, overCache);
  const last = builder.scope('head', () => selectToken(builder, x, lastIndex)); // [1,1,D]
  const { logits } = model.head(last);
  builder.output('logits', logits);
  return { logits };
}

/**
 * What every model here is: blocks that read token ids, and a head. What a block attends to is given from outside: the row itself in
 * training, a cache in generate.
 */

import type { ValueId } from '../graph/graph.ts';

/** Queries [B,T,H·K], keys and values [B,T,G·K] of one layer, and the factor on their products. */
export interface Heads {
  readonly q: ValueId;
  readonly k: ValueId;
  readonly v: ValueId;
  readonly scale: number;
}

/** Mixes over the tokens that each query may see: → [B,T,H·K]. */
export type Attend = (layer: number, heads: Heads) => ValueId;

export interface Tokens {
  /** i32 [B,T] */
  readonly ids: ValueId;
  /** i32 [B,T], from 0 in each document. */
  readonly positions: ValueId;
}

export interface Decoder {
  /** → [B,T,D], before the last norm. */
  blocks(tokens: Tokens, attend: Attend): ValueId;
  /** x [B,T,D] → what the output projection reads [B,T,D], and logits [B,T,V]. */
  head(x: ValueId): { readonly hidden: ValueId; readonly logits: ValueId };
}

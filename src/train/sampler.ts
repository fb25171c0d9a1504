/** The next token from logits: greedy, or by temperature and nucleus (top-p, Holtzman et al. 2019). */

import type { RandomStream } from '../base/random.ts';

export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Keep the most likely tokens whose probabilities reach this sum; 1 keeps all. */
  readonly topP: number;
}

/** Index of the largest logit; the first of equals. */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** Draws a token id from logits [V]. */
export function sampleToken(logits: Float64Array, { temperature, topP }: SamplingOptions, random: RandomStream): number {
  if (temperature === 0) return argmax(logits);
  const top = logits[argmax(logits)]!;
  const weights = logits.map((logit) => Math.exp((logit - top) / temperature));
  const order = Uint32Array.from(weights.keys()).sort((a, b) => weights[b]! - weights[a]! || a - b);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let kept = 0;
  let count = 0;
  while (count < order.length && (count === 0 || kept < topP * total)) kept += weights[order[count++]!]!;
  let draw = random.uniform() * kept;
  for (let i = 0; i < count; i++) {
    draw -= weights[order[i]!]!;
    if (draw < 0) return order[i]!;
  }
  return order[count - 1]!;
}

/** Row lengths for training without packing: few enough to compile a program for each, close enough to waste little. */

import { alignUp } from '../base/bytes.ts';

const ALIGNMENT = 16;
const MOST_BUCKETS = 4;
/** Another bucket must save this share of all computed tokens. */
const WORTH = 0.02;
/** Candidates that are looked at; longer rows are aligned more coarsely. */
const MOST_CANDIDATES = 256;

/**
 * One to four ascending row lengths, the last of which holds the longest document; none exceeds `maxLength`. Multiples of 16 except perhaps
 * the last. Minimises Σ row length over documents (exactly, over the aligned lengths); a further bucket is taken only if it saves 2 %.
 */
export function bucketLengths(lengths: Uint32Array, maxLength: number): readonly number[] {
  let longest = 1;
  for (const length of lengths) longest = Math.max(longest, length);
  const alignment = ALIGNMENT * Math.ceil(longest / (ALIGNMENT * MOST_CANDIDATES));
  const candidates = Array.from({ length: Math.ceil(longest / alignment) }, (_, i) => Math.min((i + 1) * alignment, maxLength));
  candidates[candidates.length - 1] = Math.min(alignUp(longest, ALIGNMENT), maxLength);
  const documents = new Float64Array(candidates.length);
  for (const length of lengths) {
    const index = Math.min(candidates.length, Math.max(1, Math.ceil(length / alignment))) - 1;
    documents[index] = (documents[index] ?? 0) + 1;
  }

  // cost[k][j]: tokens computed for all documents of candidates 0..j with k + 1 buckets, the last being j.
  const before = new Float64Array(candidates.length + 1);
  documents.forEach((count, i) => { before[i + 1] = (before[i] ?? 0) + count; });
  const span = (from: number, to: number): number => ((before[to + 1] ?? 0) - (before[from] ?? 0)) * (candidates[to] ?? 0);
  let cost = candidates.map((_, j) => span(0, j));
  const chosenFrom: number[][] = [];
  let best = backtrack(candidates, chosenFrom);
  let bestCost = cost.at(-1) ?? 0;
  for (let k = 1; k < MOST_BUCKETS; k++) {
    const from: number[] = [];
    const previous = cost;
    cost = candidates.map((_, j) => {
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i < j; i++) {
        const total = (previous[i] ?? 0) + span(i + 1, j);
        if (total < least) {
          least = total;
          from[j] = i;
        }
      }
      return least;
    });
    chosenFrom.push(from);
    const total = cost.at(-1) ?? 0;
    if (total < bestCost * (1 - WORTH)) {
      best = backtrack(candidates, chosenFrom);
      bestCost = total;
    }
  }
  return best;
}

function backtrack(candidates: readonly number[], chosenFrom: readonly (readonly number[])[]): readonly number[] {
  const chosen = [candidates.length - 1];
  for (let k = chosenFrom.length - 1; k >= 0; k--) {
    const previous = chosenFrom[k]?.[chosen[0] ?? 0];
    if (previous !== undefined) chosen.unshift(previous);
  }
  return chosen.map((index) => candidates[index] ?? 0);
}

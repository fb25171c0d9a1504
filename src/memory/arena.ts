/**
 * Places live ranges in one block of bytes. Largest first, each at the lowest offset that is free for its whole life (the greedy of
 * Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference"); when that leaves more than a little over the
 * lower bound, other orders are tried and the smallest result is taken. Deterministic.
 */

import { alignUp } from '../base/bytes.ts';
import type { LiveRange } from './liveness.ts';

export interface Placement {
  /** Byte offset of each range, in order. */
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/** Bytes that are live at each position, in place of what comes and goes there. */
export function summedUp(changes: Float64Array): Float64Array {
  for (let position = 1; position < changes.length; position++) changes[position]! += changes[position - 1]!;
  return changes;
}

/** The most bytes that are live at one position, and where: no placement can need less. */
export function peakLive(ranges: readonly LiveRange[], alignment: number): { readonly bytes: number; readonly position: number } {
  const last = ranges.reduce((max, range) => Math.max(max, range.death), 0);
  const change = new Float64Array(last + 2);
  for (const range of ranges) {
    const bytes = alignUp(range.bytes, alignment);
    change[range.birth]! += bytes;
    change[range.death + 1]! -= bytes;
  }
  let best = { bytes: 0, position: 0 };
  summedUp(change).forEach((bytes, position) => {
    if (bytes > best.bytes) best = { bytes, position };
  });
  return best;
}

const GOOD_ENOUGH = 1.005;

/** Offsets for all ranges, multiples of `alignment`. */
export function placeRanges(ranges: readonly LiveRange[], alignment: number): Placement {
  const bound = peakLive(ranges, alignment).bytes;
  const life = (range: LiveRange): number => range.death - range.birth + 1;
  const orders: readonly ((a: LiveRange, b: LiveRange) => number)[] = [
    (a, b) => b.bytes - a.bytes || life(b) - life(a) || a.birth - b.birth,
    (a, b) => b.bytes * life(b) - a.bytes * life(a) || a.birth - b.birth,
    (a, b) => life(b) - life(a) || b.bytes - a.bytes || a.birth - b.birth,
    (a, b) => a.birth - b.birth || b.bytes - a.bytes,
  ];
  let best: Placement | undefined;
  for (const order of orders) {
    const placement = placeInOrder(ranges, order, alignment);
    if (best === undefined || placement.bytes < best.bytes) best = placement;
    if (best.bytes <= bound * GOOD_ENOUGH) break;
  }
  return best ?? { offsets: [], bytes: 0 };
}

function placeInOrder(ranges: readonly LiveRange[], order: (a: LiveRange, b: LiveRange) => number, alignment: number): Placement {
  const sequence = ranges.map((_, index) => index).sort((a, b) => order(ranges[a]!, ranges[b]!) || a - b);
  const count = ranges.length;
  const offsets = new Float64Array(count);
  // The ranges placed so far, by ascending offset, as parallel arrays: this loop is the planner's hot spot.
  const births = new Int32Array(count);
  const deaths = new Int32Array(count);
  const starts = new Float64Array(count);
  const ends = new Float64Array(count);
  let placed = 0;
  let total = 0;
  for (const index of sequence) {
    const range = ranges[index]!;
    const bytes = alignUp(range.bytes, alignment);
    let offset = 0;
    for (let i = 0; i < placed; i++) {
      if (births[i]! > range.death || deaths[i]! < range.birth) continue;
      if (starts[i]! - offset >= bytes) break;
      if (ends[i]! > offset) offset = ends[i]!;
    }
    let at = placed;
    while (at > 0 && starts[at - 1]! > offset) at--;
    births.copyWithin(at + 1, at, placed);
    deaths.copyWithin(at + 1, at, placed);
    starts.copyWithin(at + 1, at, placed);
    ends.copyWithin(at + 1, at, placed);
    births[at] = range.birth;
    deaths[at] = range.death;
    starts[at] = offset;
    ends[at] = offset + bytes;
    placed++;
    offsets[index] = offset;
    total = Math.max(total, offset + bytes);
  }
  return { offsets: [...offsets], bytes: total };
}

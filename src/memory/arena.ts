/**
 * Places live ranges in one block of bytes. Largest first, each at the lowest offset that is free for its whole life (the greedy of
 * Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference"), equals in the order of the schedule; when that leaves more than a
 * little over the lower bound, other orders are tried and the smallest result is taken. Deterministic.
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

/** Of the lower bound. */
const GOOD_ENOUGH = 1.002;

/** Offsets for all ranges, multiples of `alignment`. A placement of at most `enoughBytes` is not improved on. */
export function placeRanges(ranges: readonly LiveRange[], alignment: number, enoughBytes = 0): Placement {
  const enough = Math.max(enoughBytes, peakLive(ranges, alignment).bytes * GOOD_ENOUGH);
  const life = (range: LiveRange): number => range.death - range.birth + 1;
  const orders: readonly ((a: LiveRange, b: LiveRange) => number)[] = [
    (a, b) => b.bytes - a.bytes || a.birth - b.birth,
    (a, b) => b.bytes - a.bytes || b.death - a.death,
    (a, b) => b.bytes - a.bytes || life(b) - life(a) || a.birth - b.birth,
    (a, b) => b.bytes * life(b) - a.bytes * life(a) || a.birth - b.birth,
    (a, b) => life(b) - life(a) || b.bytes - a.bytes || a.birth - b.birth,
    (a, b) => a.birth - b.birth || b.bytes - a.bytes,
  ];
  let best: Placement | undefined;
  for (const order of orders) {
    const placement = placeInOrder(ranges, order, alignment);
    if (best === undefined || placement.bytes < best.bytes) best = placement;
    if (best.bytes <= enough) break;
  }
  return best ?? { offsets: [], bytes: 0 };
}

function placeInOrder(ranges: readonly LiveRange[], order: (a: LiveRange, b: LiveRange) => number, alignment: number): Placement {
  const sequence = ranges.map((_, index) => index).sort((a, b) => order(ranges[a]!, ranges[b]!) || a - b);
  const placed = new PlacedRanges(ranges);
  let total = 0;
  for (const index of sequence) total = Math.max(total, placed.place(index, alignUp(ranges[index]!.bytes, alignment)));
  return { offsets: [...placed.starts], bytes: total };
}

/** Positions of the schedule that share a list of what lives there. */
const STRETCH = 64;
/** A life of more stretches than that asks the list of everything. */
const FEW_STRETCHES = 4;

/** What is placed so far, in flat lists: this is the planner's hot spot. Most lives are short, and ask only the lists of their stretches. */
class PlacedRanges {
  /** By index of the range. */
  readonly starts: Float64Array;
  private readonly ends: Float64Array;
  private readonly births: Int32Array;
  private readonly deaths: Int32Array;
  private readonly all = new Int32List();
  /** Of each stretch, what lives in it. */
  private readonly stretches: readonly Int32List[];

  constructor(ranges: readonly LiveRange[]) {
    this.starts = new Float64Array(ranges.length);
    this.ends = new Float64Array(ranges.length);
    this.births = Int32Array.from(ranges, ({ birth }) => birth);
    this.deaths = Int32Array.from(ranges, ({ death }) => death);
    const last = this.deaths.reduce((most, death) => Math.max(most, death), 0);
    this.stretches = Array.from({ length: 1 + Math.floor(last / STRETCH) }, () => new Int32List());
  }

  /** Places a range of `bytes` at the lowest offset that is free for its whole life; returns where it ends. */
  place(index: number, bytes: number): number {
    const lists = this.stretches.slice(Math.floor(this.births[index]! / STRETCH), 1 + Math.floor(this.deaths[index]! / STRETCH));
    const asked = lists.length > FEW_STRETCHES ? [this.all] : lists;
    // What one list pushes up may meet something in another: until all agree. Each step is one that no free offset lies before.
    let offset = 0;
    for (let agreed = 0, at = 0; agreed < asked.length; at = (at + 1) % asked.length) {
      const free = this.freeIn(asked[at]!, index, { from: offset, bytes });
      agreed = free === offset ? agreed + 1 : 1;
      offset = free;
    }
    this.starts[index] = offset;
    this.ends[index] = offset + bytes;
    this.insert(this.all, index);
    for (const list of lists) this.insert(list, index);
    return offset + bytes;
  }

  /** The lowest offset from `from` on with `bytes` free beside those of `list` that live at the same time. */
  private freeIn({ items, length }: Int32List, index: number, { from, bytes }: { readonly from: number; readonly bytes: number }): number {
    const { births, deaths, starts, ends } = this;
    const birth = births[index]!;
    const death = deaths[index]!;
    let offset = from;
    for (let i = 0; i < length; i++) {
      const other = items[i]!;
      if (births[other]! > death || deaths[other]! < birth) continue;
      if (starts[other]! - offset >= bytes) break;
      if (ends[other]! > offset) offset = ends[other]!;
    }
    return offset;
  }

  /** Lists are in ascending order of their starts. */
  private insert(list: Int32List, index: number): void {
    const start = this.starts[index]!;
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[list.items[middle]!]! <= start) low = middle + 1;
      else high = middle;
    }
    list.insert(low, index);
  }
}

class Int32List {
  items = new Int32Array(16);
  length = 0;

  insert(at: number, item: number): void {
    if (this.length === this.items.length) {
      const longer = new Int32Array(2 * this.length);
      longer.set(this.items);
      this.items = longer;
    }
    this.items.copyWithin(at + 1, at, this.length++);
    this.items[at] = item;
  }
}

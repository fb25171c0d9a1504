/**
 * Documents into rows of a fixed length. Documents are taken in blocks of the given order; within a block, best fit with decreasing length
 * (Johnson 1974), by tables over lengths, so that a document costs O(rowLength / 32). The rows of a block then stand in the order of their
 * earliest document: a shuffled order stays shuffled, a plain one stays about plain. Rows that are far from full are opened again in the
 * next block.
 */

/** Rows as typed arrays: row r holds documents[starts[r]] … documents[starts[r + 1] - 1]. */
export interface PackedRows {
  readonly rows: number;
  /** Document indices, each exactly once. */
  readonly documents: Uint32Array;
  /** [rows + 1] */
  readonly starts: Uint32Array;
}

export interface PackOptions {
  /** Documents in the order in which they are wanted. Default 0, 1, 2, … */
  readonly order?: Uint32Array;
  /** Documents looked at together. */
  readonly lookahead?: number;
}

const LOOKAHEAD = 8192;
/** Rows less full than this are taken apart and packed again with the next block. */
const FULL_ENOUGH = 0.95;

/** `lengths` [documents], each from 1 to `rowLength`. Deterministic. Errors: RangeError for a document longer than a row. */
export function packRows(lengths: Uint32Array, rowLength: number, options: PackOptions = {}): PackedRows {
  const order = options.order ?? Uint32Array.from({ length: lengths.length }, (_, i) => i);
  const lookahead = options.lookahead ?? LOOKAHEAD;
  const documents = new Uint32Array(order.length);
  const starts = new Uint32Array(order.length + 1);
  let rows = 0;
  let filled = 0;
  let carried: number[] = [];
  let next = 0;
  while (next < order.length || carried.length > 0) {
    const stop = Math.min(order.length, next + lookahead);
    const block = carried;
    for (; next < stop; next++) block.push(next);
    const last = next === order.length;
    const packed = bestFitDecreasing(block, (position) => lengths[order[position] ?? 0] ?? 0, rowLength);
    carried = [];
    for (const { members, free } of packed) {
      // What is carried on is at most half a block, so that every block makes progress.
      if (!last && free > (1 - FULL_ENOUGH) * rowLength && carried.length + members.length <= lookahead / 2) {
        carried.push(...members);
        continue;
      }
      for (const position of members) documents[filled++] = order[position] ?? 0;
      starts[++rows] = filled;
    }
    carried.sort((a, b) => a - b);
  }
  return { rows, documents, starts: starts.slice(0, rows + 1) };
}

interface Bin {
  /** Positions in the order, ascending once the bin is given out. */
  readonly members: number[];
  free: number;
}

/** `block`: ascending positions in the order. Bins come in the order of their earliest member. */
function bestFitDecreasing(block: readonly number[], lengthOf: (position: number) => number, rowLength: number): readonly Bin[] {
  const byLength: number[][] = [];
  for (const position of block) {
    const length = lengthOf(position);
    if (length > rowLength) throw new RangeError(`a document of ${length} tokens does not fit into a row of ${rowLength}`);
    (byLength[length] ??= []).push(position);
  }
  const bins: Bin[] = [];
  // Bins by free space, and a bit per free space that has one.
  const open: Bin[][] = [];
  const bits = new Uint32Array((rowLength >> 5) + 1);
  for (let length = byLength.length - 1; length >= 0; length--) {
    for (const position of byLength[length] ?? []) {
      const free = smallestAtLeast(bits, length);
      let bin: Bin | undefined;
      if (free !== undefined) {
        const same = open[free] ?? [];
        bin = same.pop();
        if (same.length === 0) bits[free >> 5] = (bits[free >> 5] ?? 0) & ~(1 << (free & 31));
      }
      if (bin === undefined) {
        bin = { members: [], free: rowLength };
        bins.push(bin);
      }
      bin.members.push(position);
      bin.free -= length;
      if (bin.free > 0) {
        (open[bin.free] ??= []).push(bin);
        bits[bin.free >> 5] = (bits[bin.free >> 5] ?? 0) | (1 << (bin.free & 31));
      }
    }
  }
  for (const bin of bins) bin.members.sort((a, b) => a - b);
  return bins.sort((a, b) => (a.members[0] ?? 0) - (b.members[0] ?? 0));
}

/** The lowest set bit from `from` on. */
function smallestAtLeast(bits: Uint32Array, from: number): number | undefined {
  let word = from >> 5;
  let value = (bits[word] ?? 0) & (-1 << (from & 31));
  while (value === 0) {
    word++;
    if (word >= bits.length) return undefined;
    value = bits[word] ?? 0;
  }
  return word * 32 + (31 - Math.clz32(value & -value));
}

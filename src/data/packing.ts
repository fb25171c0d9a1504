/**
 * Documents into rows of a fixed length. A row takes documents in the given order until it is half full or the next does not fit; the rest
 * is filled as exactly as possible from those that follow within a bounded lookahead: a depth-first search over the lengths on offer,
 * longest first, that stops at a full row or after a fixed number of tries (the minimum bin slack heuristic, Gupta & Ho 1999). So the
 * order of rows is about that of the documents. What is chosen by length shifts the mean length a little from the first rows to the last,
 * so rows that are to be in random order are shuffled once more.
 */

import type { RandomStream } from '../base/random.ts';

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
  /** Documents on offer at a time. */
  readonly lookahead?: number;
}

const LOOKAHEAD = 8192;
/** Share of a row from which on documents are chosen by length: less keeps the order better, more fills rows better. */
const ROOM_TO_FILL = 0.5;
/** Lengths tried for one row. */
const TRIES = 500;

/** `lengths` [documents], each from 1 to `rowLength`. Deterministic. Errors: RangeError for a document longer than a row. */
export function packRows(lengths: Uint32Array, rowLength: number, options: PackOptions = {}): PackedRows {
  const order = options.order ?? countingUp(lengths.length);
  const lookahead = options.lookahead ?? LOOKAHEAD;
  const documents = new Uint32Array(order.length);
  const starts = new Uint32Array(order.length + 1);
  const taken = new Uint8Array(order.length);
  const offer = new Offer(rowLength, order.length);
  const lengthAt = (position: number): number => lengths[order[position] ?? 0] ?? 0;
  let rows = 0;
  let filled = 0;
  let oldest = 0;
  let next = 0;
  while (filled < order.length) {
    for (; next < order.length && offer.documents < lookahead; next++) {
      const length = lengthAt(next);
      if (length < 1 || length > rowLength) throw new RangeError(`a document of ${length} tokens does not fit into a row of ${rowLength}`);
      offer.add(length, next);
    }
    const members: number[] = [];
    let free = rowLength;
    const take = (length: number): void => {
      // Among documents of one length the first in order goes first.
      const position = offer.take(length);
      members.push(position);
      taken[position] = 1;
      free -= length;
    };
    for (;;) {
      while (oldest < next && taken[oldest] === 1) oldest++;
      if (oldest === next || free <= ROOM_TO_FILL * rowLength || lengthAt(oldest) > free) break;
      take(lengthAt(oldest));
    }
    for (const length of fillUp(offer, free)) take(length);
    members.sort((a, b) => a - b);
    for (const position of members) documents[filled++] = order[position] ?? 0;
    starts[++rows] = filled;
  }
  return { rows, documents, starts: starts.slice(0, rows + 1) };
}

/** The same rows in a random order. */
export function shuffleRows({ rows, documents, starts }: PackedRows, random: RandomStream): PackedRows {
  const shuffled = { rows, documents: new Uint32Array(documents.length), starts: new Uint32Array(starts.length) };
  let filled = 0;
  random.shuffle(countingUp(rows)).forEach((row, position) => {
    const members = documents.subarray(starts[row], starts[row + 1]);
    shuffled.documents.set(members, filled);
    filled += members.length;
    shuffled.starts[position + 1] = filled;
  });
  return shuffled;
}

/** 0, 1, 2, … */
export function countingUp(count: number): Uint32Array {
  const numbers = new Uint32Array(count);
  for (let i = 0; i < count; i++) numbers[i] = i;
  return numbers;
}

/** Lengths on offer that together leave the least of `space` free. */
function fillUp(offer: Offer, space: number): readonly number[] {
  const current: number[] = [];
  let best: readonly number[] = [];
  let leastFree = space;
  let tries = 0;
  const search = (longest: number, free: number): void => {
    if (free < leastFree) {
      leastFree = free;
      best = [...current];
    }
    for (let length = offer.longestUpTo(Math.min(longest, free)); length > 0; length = offer.longestUpTo(length - 1)) {
      if (leastFree === 0 || tries === TRIES) return;
      tries++;
      offer.hide(length);
      current.push(length);
      search(length, free - length);
      current.pop();
      offer.show(length);
    }
  };
  search(space, space);
  return best;
}

/** Positions of documents by length, first come first taken. */
class Offer {
  documents = 0;
  /** How many of each length; those hidden by a search do not count. */
  private readonly counts: Int32Array;
  /** A bit per length of which there are documents. */
  private readonly bits: Uint32Array;
  /** Linked lists: position + 1, 0 at the end. */
  private readonly first: Uint32Array;
  private readonly last: Uint32Array;
  private readonly following: Uint32Array;

  constructor(rowLength: number, documents: number) {
    this.counts = new Int32Array(rowLength + 1);
    this.bits = new Uint32Array((rowLength >> 5) + 1);
    this.first = new Uint32Array(rowLength + 1);
    this.last = new Uint32Array(rowLength + 1);
    this.following = new Uint32Array(documents);
  }

  add(length: number, position: number): void {
    const last = this.last[length] ?? 0;
    if ((this.first[length] ?? 0) === 0) this.first[length] = position + 1;
    else this.following[last - 1] = position + 1;
    this.last[length] = position + 1;
    this.documents++;
    this.show(length);
  }

  /** The oldest document of this length. */
  take(length: number): number {
    const position = (this.first[length] ?? 0) - 1;
    if (position < 0) throw new RangeError(`no document of ${length} tokens is on offer`);
    this.first[length] = this.following[position] ?? 0;
    this.documents--;
    this.hide(length);
    return position;
  }

  hide(length: number): void {
    const count = (this.counts[length] ?? 0) - 1;
    this.counts[length] = count;
    if (count === 0) this.bits[length >> 5] = (this.bits[length >> 5] ?? 0) & ~(1 << (length & 31));
  }

  show(length: number): void {
    this.counts[length] = (this.counts[length] ?? 0) + 1;
    this.bits[length >> 5] = (this.bits[length >> 5] ?? 0) | (1 << (length & 31));
  }

  /** The longest length on offer that is at most `most`; 0 when there is none. */
  longestUpTo(most: number): number {
    let word = most >> 5;
    let value = (this.bits[word] ?? 0) & (0xffff_ffff >>> (31 - (most & 31)));
    while (value === 0) {
      word--;
      if (word < 0) return 0;
      value = this.bits[word] ?? 0;
    }
    return word * 32 + 31 - Math.clz32(value);
  }
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RandomStream } from '../base/random.ts';
import { bucketLengths } from './buckets.ts';
import { countingUp, packRows, shuffleRows } from './packing.ts';

const lengthsUpTo = (most: number): fc.Arbitrary<Uint32Array> =>
  fc.array(fc.integer({ min: 1, max: most }), { maxLength: 300 }).map((list) => Uint32Array.from(list));

describe('packRows', () => {
  it('puts every document into exactly one row and no row over its length', () => {
    fc.assert(fc.property(lengthsUpTo(64), fc.integer({ min: 64, max: 100 }), fc.integer({ min: 1, max: 50 }), fc.nat(), (lengths, rowLength, lookahead, seed) => {
      const order = new RandomStream(seed, 1).shuffle(countingUp(lengths.length));
      const { rows, documents, starts } = packRows(lengths, rowLength, { order, lookahead });
      expect([...documents].sort((a, b) => a - b)).toEqual([...countingUp(lengths.length)]);
      expect(starts).toHaveLength(rows + 1);
      expect([starts[0], starts[rows]]).toEqual([0, lengths.length]);
      for (let row = 0; row < rows; row++) {
        const members = documents.slice(starts[row], starts[row + 1]);
        expect(members.length).toBeGreaterThan(0);
        expect(members.reduce((sum, index) => sum + (lengths[index] ?? 0), 0)).toBeLessThanOrEqual(rowLength);
      }
    }));
  });

  it('begins rows, and goes on within them, in the given order', () => {
    const lengths = Uint32Array.of(5, 9, 5, 1, 3);
    const order = Uint32Array.of(2, 1, 0, 4, 3);
    const { rows, documents, starts } = packRows(lengths, 10, { order });
    expect(Array.from({ length: rows }, (_, row) => [...documents.subarray(starts[row], starts[row + 1])])).toEqual([[2, 0], [1, 3], [4]]);
  });

  it('shuffles whole rows', () => {
    const lengths = Uint32Array.from({ length: 300 }, (_, i) => 1 + ((i * 37) % 90));
    const plain = packRows(lengths, 100);
    const shuffled = shuffleRows(plain, new RandomStream(1, 2));
    const rowsOf = ({ rows, documents, starts }: typeof plain): readonly string[] => Array.from({ length: rows }, (_, row) => documents.slice(starts[row], starts[row + 1]).join(' '));
    expect(rowsOf(shuffled)).not.toEqual(rowsOf(plain));
    expect([...rowsOf(shuffled)].sort()).toEqual([...rowsOf(plain)].sort());
  });

  it('fills rows of typical data to more than 95 % and keeps the order on the whole', () => {
    const random = new RandomStream(3, 4);
    for (const [name, draw] of [
      ['mostly short', () => Math.ceil(30 + 400 * random.uniform() ** 3)],
      ['log-normal', () => Math.min(1024, Math.max(8, Math.round(Math.exp(5 + 0.7 * random.normal()))))],
      ['even', () => 1 + random.below(700)],
    ] as const) {
      const lengths = Uint32Array.from({ length: 5000 }, draw);
      const tokens = lengths.reduce((sum, length) => sum + length, 0);
      const { rows, documents } = packRows(lengths, 1024);
      expect(tokens / (rows * 1024), name).toBeGreaterThan(0.95);
      const places = Float64Array.from(documents, (index, place) => Math.abs(index - place));
      expect(places.reduce((sum, distance) => sum + distance, 0) / lengths.length, name).toBeLessThan(0.2 * lengths.length);
    }
  });

  it('is deterministic and takes none or one', () => {
    const lengths = Uint32Array.from({ length: 200 }, (_, i) => 1 + ((i * 37) % 90));
    expect(packRows(lengths, 100)).toEqual(packRows(lengths, 100));
    expect(packRows(new Uint32Array(0), 10).rows).toBe(0);
    expect(packRows(Uint32Array.of(10), 10).rows).toBe(1);
  });

  it('refuses a document longer than a row', () => {
    expect(() => packRows(Uint32Array.of(3, 11), 10)).toThrowError(RangeError);
  });
});

describe('bucketLengths', () => {
  const cost = (lengths: Uint32Array, buckets: readonly number[]): number =>
    lengths.reduce((sum, length) => sum + (buckets.find((bucket) => length <= bucket) ?? Number.NaN), 0);

  it('gives one to four ascending lengths that hold every document', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 200 }), fc.integer({ min: 700, max: 1024 }), (list, maxLength) => {
      const lengths = Uint32Array.from(list);
      const buckets = bucketLengths(lengths, maxLength);
      expect(buckets.length).toBeGreaterThanOrEqual(1);
      expect(buckets.length).toBeLessThanOrEqual(4);
      expect([...buckets].sort((a, b) => a - b)).toEqual(buckets);
      expect(new Set(buckets).size).toBe(buckets.length);
      expect(buckets.at(-1)).toBeLessThanOrEqual(maxLength);
      for (const bucket of buckets) expect(bucket % 16 === 0 || bucket === maxLength).toBe(true);
      expect(Number.isNaN(cost(lengths, buckets))).toBe(false);
    }));
  });

  it('is the best of all choices of four, but for 2 % a bucket', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 160 }), { minLength: 1, maxLength: 60 }), (list) => {
      const lengths = Uint32Array.from(list);
      const longest = Math.ceil(Math.max(...list) / 16) * 16;
      const candidates = Array.from({ length: longest / 16 - 1 }, (_, i) => 16 * (i + 1));
      let best = cost(lengths, [longest]);
      for (const a of candidates) for (const b of candidates) for (const c of candidates) if (a <= b && b <= c) best = Math.min(best, cost(lengths, [a, b, c, longest]));
      expect(cost(lengths, bucketLengths(lengths, 160))).toBeLessThanOrEqual(best * 1.0625);
    }), { numRuns: 40 });
  });

  it('uses one bucket when all documents are alike, and keeps an odd limit', () => {
    expect(bucketLengths(Uint32Array.of(100, 101, 102), 512)).toEqual([112]);
    expect(bucketLengths(Uint32Array.of(99), 100)).toEqual([100]);
    expect(bucketLengths(Uint32Array.from({ length: 1000 }, (_, i) => 1 + i * 32), 32_000).at(-1)).toBeLessThanOrEqual(32_000);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { peakLive, placeRanges } from './arena.ts';
import { checkPlacement } from './check.ts';
import type { LiveRange } from './liveness.ts';

const range = (bytes: number, birth: number, death: number): LiveRange => ({ name: `${bytes}@${birth}-${death}`, scope: '', bytes, storage: 'workspace', birth, death });

const ranges = fc.array(
  fc.record({ bytes: fc.integer({ min: 0, max: 40 }), birth: fc.nat(12), life: fc.nat(8) }).map(({ bytes, birth, life }) => range(bytes, birth, birth + life)),
  { maxLength: 40 },
);

const lifeOf = ({ birth, death }: LiveRange): number => death - birth + 1;

/** Each range in `order` at its lowest free offset, found among all that are placed. */
function lowestFree(list: readonly LiveRange[], order: (a: LiveRange, b: LiveRange) => number): readonly number[] {
  const offsets: number[] = [];
  const placed: { readonly range: LiveRange; readonly offset: number }[] = [];
  for (const { next, index } of list.map((next, index) => ({ next, index })).sort((a, b) => order(a.next, b.next) || a.index - b.index)) {
    let offset = 0;
    for (const other of placed.filter(({ range: { birth, death } }) => birth <= next.death && next.birth <= death).sort((a, b) => a.offset - b.offset)) {
      if (other.offset - offset >= next.bytes) break;
      offset = Math.max(offset, other.offset + other.range.bytes);
    }
    offsets[index] = offset;
    placed.push({ range: next, offset });
  }
  return offsets;
}

/** The smallest arena over all orders of placing each range at its lowest free offset: the optimum for such tiny cases. */
function bruteForce(list: readonly LiveRange[]): number {
  let best = Infinity;
  const place = (rest: readonly LiveRange[], placed: readonly { readonly range: LiveRange; readonly offset: number }[], total: number): void => {
    if (total >= best) return;
    if (rest.length === 0) {
      best = total;
      return;
    }
    for (const next of rest) {
      const alive = placed.filter(({ range: other }) => other.birth <= next.death && next.birth <= other.death).sort((a, b) => a.offset - b.offset);
      let offset = 0;
      for (const other of alive) {
        if (other.offset - offset >= next.bytes) break;
        offset = Math.max(offset, other.offset + other.range.bytes);
      }
      place(rest.filter((r) => r !== next), [...placed, { range: next, offset }], Math.max(total, offset + next.bytes));
    }
  };
  place(list, [], 0);
  return best;
}

describe('placeRanges', () => {
  it('never lets two live ranges share a byte, and stays between the bound and the sum', () => {
    fc.assert(fc.property(ranges, fc.constantFrom(1, 8, 64), (list, alignment) => {
      const placement = placeRanges(list, alignment);
      checkPlacement(list, placement, alignment);
      expect(placement.bytes).toBeGreaterThanOrEqual(peakLive(list, alignment).bytes);
      expect(placement.bytes).toBeLessThanOrEqual(list.reduce((sum, r) => sum + Math.ceil(r.bytes / alignment) * alignment, 0));
    }), { numRuns: 500 });
  });

  it('places each range of a long schedule where a search through all that is placed would', () => {
    const long = fc.array(
      fc.record({ bytes: fc.integer({ min: 1, max: 40 }), birth: fc.nat(300), life: fc.oneof(fc.nat(90), fc.nat(90), fc.nat(400)) }).map(({ bytes, birth, life }) => range(bytes, birth, birth + life)),
      { minLength: 60, maxLength: 150 },
    );
    fc.assert(fc.property(long, (list) => {
      const found = placeRanges(list, 1);
      const orders: readonly ((a: LiveRange, b: LiveRange) => number)[] = [
        (a, b) => b.bytes - a.bytes || a.birth - b.birth, (a, b) => b.bytes - a.bytes || b.death - a.death,
        (a, b) => b.bytes - a.bytes || lifeOf(b) - lifeOf(a) || a.birth - b.birth, (a, b) => b.bytes * lifeOf(b) - a.bytes * lifeOf(a) || a.birth - b.birth,
        (a, b) => lifeOf(b) - lifeOf(a) || b.bytes - a.bytes || a.birth - b.birth, (a, b) => a.birth - b.birth || b.bytes - a.bytes,
      ];
      expect(orders.some((order) => JSON.stringify(lowestFree(list, order)) === JSON.stringify(found.offsets))).toBe(true);
    }), { numRuns: 100 });
  });

  it('is near the best possible on small cases', () => {
    fc.assert(fc.property(fc.array(ranges.map((list) => list[0] ?? range(1, 0, 0)), { minLength: 1, maxLength: 6 }), (list) => {
      expect(placeRanges(list, 1).bytes).toBeLessThanOrEqual(Math.ceil(bruteForce(list) * 1.5));
    }), { numRuns: 150 });
  });

  it('takes the first order where that is small enough', () => {
    fc.assert(fc.property(ranges, (list) => {
      const first = lowestFree(list, (a, b) => b.bytes - a.bytes || a.birth - b.birth);
      expect(placeRanges(list, 1, Infinity).offsets).toEqual(first);
      expect(placeRanges(list, 1).bytes).toBeLessThanOrEqual(placeRanges(list, 1, Infinity).bytes);
    }));
  });

  it('reuses bytes of what has died', () => {
    expect(placeRanges([range(100, 0, 1), range(100, 2, 3), range(60, 2, 3)], 1).bytes).toBe(160);
  });

  it('is deterministic', () => {
    const list = Array.from({ length: 200 }, (_, i) => range((i * 37) % 91, (i * 13) % 50, ((i * 13) % 50) + ((i * 7) % 9)));
    expect(placeRanges(list, 64)).toEqual(placeRanges(list, 64));
  });
});

describe('checkPlacement', () => {
  it('sees an overlap, a range that sticks out, and an unaligned offset', () => {
    const list = [range(64, 0, 2), range(64, 1, 3)];
    expect(() => checkPlacement(list, { offsets: [0, 63], bytes: 200 }, 1)).toThrow(/overlaps/);
    expect(() => checkPlacement(list, { offsets: [63, 0], bytes: 200 }, 1)).toThrow(/overlaps/);
    expect(() => checkPlacement(list, { offsets: [0, 64], bytes: 127 }, 1)).toThrow(/127 bytes/);
    expect(() => checkPlacement(list, { offsets: [0, 72], bytes: 200 }, 64)).toThrow(/multiple of 64/);
    expect(() => checkPlacement(list, { offsets: [0, 64], bytes: 128 }, 64)).not.toThrow();
  });

  it('finds what one byte less would break, on random cases', () => {
    fc.assert(fc.property(ranges, fc.nat(), fc.integer({ min: 1, max: 8 }), (list, which, by) => {
      const placement = placeRanges(list, 1);
      const index = list.length === 0 ? 0 : which % list.length;
      const moved = placement.offsets.map((offset, i) => (i === index ? offset + by : offset));
      const clash = list.some((a, i) => list.some((b, j) => i < j && a.birth <= b.death && b.birth <= a.death
        && moved[i]! < moved[j]! + b.bytes && moved[j]! < moved[i]! + a.bytes && a.bytes > 0 && b.bytes > 0));
      const outside = list.some((r, i) => r.bytes > 0 && moved[i]! + r.bytes > placement.bytes);
      const check = (): void => checkPlacement(list, { offsets: moved, bytes: placement.bytes }, 1);
      if (clash || outside) expect(check).toThrow();
      else expect(check).not.toThrow();
    }), { numRuns: 300 });
  });
});

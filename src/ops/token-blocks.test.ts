import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCK_TOKENS, JOINED_BELOW, evenBlock, tokenBlocks } from './token-blocks.ts';

const sizes = [fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 3000 })] as const;

describe('tokenBlocks', () => {
  it('covers every token once, in order', () => {
    fc.assert(
      fc.property(...sizes, (rows, length) => {
        let next = 0;
        for (const { start, end } of tokenBlocks(rows, length)) {
          expect(start).toBe(next);
          expect(end).toBeGreaterThan(start);
          expect(end - start).toBeLessThanOrEqual(BLOCK_TOKENS);
          next = end;
        }
        expect(next).toBe(rows * length);
      }),
    );
  });

  it('cuts each row as it cuts one row, when rows are not joined', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: JOINED_BELOW, max: 3000 }), (rows, length) => {
        const one = tokenBlocks(1, length);
        const inRow = (row: number) => one.map(({ start, end }) => ({ start: start + row * length, end: end + row * length }));
        const repeated = Array.from({ length: rows }, (_, row) => inRow(row)).flat();
        expect(tokenBlocks(rows, length)).toEqual(repeated);
      }),
    );
  });

  it('joins rows shorter than 128', () => {
    expect(tokenBlocks(4, 100)).toEqual([{ start: 0, end: 200 }, { start: 200, end: 400 }]);
    expect(tokenBlocks(3, 127)).toEqual([{ start: 0, end: 381 }]);
    expect(tokenBlocks(3, 128)).toEqual([{ start: 0, end: 128 }, { start: 128, end: 256 }, { start: 256, end: 384 }]);
  });

  it('cuts evenly, in multiples of 8', () => {
    expect(evenBlock(384)).toBe(384);
    expect(evenBlock(385)).toBe(200);
    expect(evenBlock(1024)).toBe(344);
    expect(evenBlock(1)).toBe(8);
  });
});

import { describe, expect, it } from 'vitest';
import { RandomStream } from '../base/random.ts';
import { CODE_BLOCK, SIGNED_CODE, UNSIGNED_CODE, decodeBlocks, encodeBlocks } from './dynamic-code.ts';

describe('the signed code', () => {
  const { values } = SIGNED_CODE;

  it('has the values that bitsandbytes.functional.create_dynamic_map(signed=True) is known to have', () => {
    expect(values).toHaveLength(256);
    const known: readonly (readonly [number, number])[] = [
      [0, -0.99296875], [1, -0.97890625], [2, -0.96484375], [63, -0.10703125], [64, -0.09859375], [126, -5.5e-7], [127, 0], [128, 5.5e-7], [129, 3.25e-6],
      [130, 7.75e-6], [191, 0.10703125], [254, 0.99296875], [255, 1],
    ];
    for (const [code, value] of known) expect(Math.abs(values[code]! - value), `code ${code}`).toBeLessThanOrEqual(1e-6 * Math.abs(value));
  });

  it('ascends, and has 64 values in the upper decade of each sign, 32 in the next, …, 1 in the seventh', () => {
    expect([...values]).toEqual([...values].sort((a, b) => a - b));
    const inDecade = (sign: number, i: number): number => values.filter((x) => sign * x > 10 ** -(i + 1) && sign * x < 10 ** -i).length;
    for (const sign of [1, -1]) expect([0, 1, 2, 3, 4, 5, 6].map((i) => inDecade(sign, i))).toEqual([64, 32, 16, 8, 4, 2, 1]);
  });
});

describe('the unsigned code', () => {
  const { values } = UNSIGNED_CODE;

  it('has the values of create_dynamic_map(signed=False): twice as many per decade', () => {
    expect(values).toHaveLength(256);
    const known: readonly (readonly [number, number])[] = [[0, 0], [1, 3.25e-7], [2, 7.75e-7], [3, 2.125e-6 * (0.2125 / 0.2125)], [127, 0.103515625], [254, 0.996484375], [255, 1]];
    for (const [code, value] of known) expect(Math.abs(values[code]! - value), `code ${code}`).toBeLessThanOrEqual(1e-6 * value);
    const inDecade = (i: number): number => values.filter((x) => x > 10 ** -(i + 1) && x < 10 ** -i).length;
    expect([0, 1, 2, 3, 4, 5, 6].map(inDecade)).toEqual([128, 64, 32, 16, 8, 4, 2]);
  });
});

describe.each([['signed', SIGNED_CODE], ['unsigned', UNSIGNED_CODE]] as const)('encoding, %s', (name, code) => {
  it('gives each value its own code', () => {
    code.values.forEach((value, index) => expect(code.encode(value)).toBe(index));
  });

  it('takes the nearest', () => {
    const random = new RandomStream(4, 0);
    for (let i = 0; i < 4000; i++) {
      const x = (name === 'signed' ? 2 * random.uniform() - 1 : random.uniform()) * 10 ** (-8 * random.uniform());
      const error = Math.abs(code.values[code.encode(x)]! - x);
      expect(error).toBeLessThanOrEqual(Math.min(...code.values.map((value) => Math.abs(value - x))) + 1e-9 * Math.abs(x));
    }
  });
});

describe('blocks', () => {
  it('come back within a hundredth of their greatest element, and each has a scale of its own', () => {
    const x = Float64Array.from({ length: CODE_BLOCK + 44 }, (_, i) => Math.sin(i * i) * (i < CODE_BLOCK ? 1e-6 : 100));
    const { codes, scales } = encodeBlocks(SIGNED_CODE, x);
    expect(scales).toHaveLength(2);
    const back = decodeBlocks(SIGNED_CODE, codes, scales);
    x.forEach((value, i) => expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(0.0072 * scales[Math.floor(i / CODE_BLOCK)]!));
  });

  it('of zero bytes are zeros, and zeros come back as zeros', () => {
    for (const code of [SIGNED_CODE, UNSIGNED_CODE]) {
      const isZero = (x: number): boolean => x === 0;
      expect(decodeBlocks(code, new Float64Array(300), new Float64Array(2)).every(isZero)).toBe(true);
      const { codes, scales } = encodeBlocks(code, new Float64Array(300));
      expect(decodeBlocks(code, codes, scales).every(isZero)).toBe(true);
    }
  });

  it.each([NaN, Infinity])('with %d keep nothing that looks like a number', (bad) => {
    const x = new Float64Array(2 * CODE_BLOCK).fill(0.5);
    x[3] = bad;
    const { codes, scales } = encodeBlocks(UNSIGNED_CODE, x);
    const back = decodeBlocks(UNSIGNED_CODE, codes, scales);
    expect(back.subarray(0, CODE_BLOCK).some(Number.isFinite)).toBe(false);
    expect(back.subarray(CODE_BLOCK).every((value) => value === 0.5)).toBe(true);
  });
});

import { describe, expect, it } from 'vitest';
import { fromBf16Bits, toBf16Bits } from '../graph/dtype.ts';
import { roundingBits, roundStochastically } from './stochastic-rounding.ts';

const bf16 = (x: number): number => fromBf16Bits(toBf16Bits(x));

describe('random bits', () => {
  it('depend on seed, step, the element and the upper half of its index', () => {
    const list = (seed: number, step: number, first: number): readonly number[] => Array.from({ length: 64 }, (_, i) => roundingBits({ seed, step }, first + i));
    const base = list(5, 1, 0);
    expect(list(5, 1, 0)).toEqual(base);
    for (const other of [list(6, 1, 0), list(5, 2, 0), list(5, 1, 64), list(5, 1, 2 ** 32), list(5 + 2 ** 32, 1, 0)]) {
      expect(other.filter((bits, i) => bits === base[i]).length).toBeLessThan(3);
    }
  });

  it('are evenly spread, each of the 16', () => {
    const count = 1 << 16;
    const ones = Array.from({ length: 16 }, () => 0);
    for (let i = 0; i < count; i++) {
      const bits = roundingBits({ seed: 42 * 65536, step: 3 }, i);
      for (let bit = 0; bit < 16; bit++) ones[bit]! += (bits >> bit) & 1;
    }
    for (const sum of ones) expect(Math.abs(sum / count - 0.5)).toBeLessThan(4 * 0.5 / Math.sqrt(count));
  });

  it('are not those of another step, shifted', () => {
    const bits = (step: number): readonly number[] => Array.from({ length: 4096 }, (_, i) => roundingBits({ seed: 1, step }, i));
    const [a, b] = [bits(1), new Set(bits(2).map((x, i, list) => `${x},${list[i + 1]},${list[i + 2]}`))];
    expect(a.some((x, i) => b.has(`${x},${a[i + 1]},${a[i + 2]}`))).toBe(false);
  });
});

describe('rounding', () => {
  it('leaves what bf16 holds, infinities and NaN', () => {
    const exact = Float64Array.of(0, -0, 1, -1.5, bf16(0.1), 2 ** -126, 3.3895313892515355e38, Infinity, -Infinity, NaN);
    for (let step = 1; step < 50; step++) expect(roundStochastically(exact, { seed: 3, step }, step)).toEqual(exact);
  });

  it('is right on average, for both signs', () => {
    for (const value of [1 + 2 ** -8 * 0.75, -(1 + 2 ** -7 * 0.1), 0.3, -1e-20]) {
      const count = 40_000;
      const rounded = roundStochastically(new Float64Array(count).fill(value), { seed: 8, step: 2 }, 0);
      const [low, high] = [Math.min(...rounded), Math.max(...rounded)];
      expect(new Set(rounded)).toEqual(new Set([low, high]));
      expect(low).toBeLessThan(value);
      expect(high).toBeGreaterThan(value);
      const mean = rounded.reduce((sum, x) => sum + x, 0) / count;
      expect(Math.abs(mean - Math.fround(value))).toBeLessThan(4 * 0.5 * (high - low) / Math.sqrt(count));
    }
  });

  it('gives a range the bits that it has in the whole', () => {
    const values = Float64Array.from({ length: 1000 }, (_, i) => Math.sin(i));
    const whole = roundStochastically(values, { seed: 1, step: 1 }, 0);
    expect(roundStochastically(values.subarray(300, 700), { seed: 1, step: 1 }, 300)).toEqual(whole.subarray(300, 700));
  });
});

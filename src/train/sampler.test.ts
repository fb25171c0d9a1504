import { describe, expect, it } from 'vitest';
import { RandomStream } from '../base/random.ts';
import { argmax, sampleToken } from './sampler.ts';

const logits = Float64Array.from([0, Math.log(6), Math.log(3), -Infinity]);

describe('sampleToken', () => {
  it('is greedy at temperature 0, the first of equals', () => {
    expect(sampleToken(logits, { temperature: 0, topP: 1 }, new RandomStream(1, 0))).toBe(1);
    expect(argmax([2, 5, 5])).toBe(1);
  });

  it('draws in proportion to exp(logit / temperature)', () => {
    const random = new RandomStream(7, 0);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[sampleToken(logits, { temperature: 1, topP: 1 }, random)]!++;
    expect(counts[0]! / 20_000).toBeCloseTo(0.1, 1);
    expect(counts[1]! / 20_000).toBeCloseTo(0.6, 1);
    expect(counts[3]).toBe(0);
  });

  it('keeps the smallest set of tokens that reaches top-p', () => {
    const random = new RandomStream(7, 0);
    const drawn = new Set(Array.from({ length: 2000 }, () => sampleToken(logits, { temperature: 1, topP: 0.65 }, random)));
    expect(drawn).toEqual(new Set([1, 2]));
    const one = new Set(Array.from({ length: 200 }, () => sampleToken(logits, { temperature: 1, topP: 0.5 }, random)));
    expect([...one]).toEqual([1]);
  });
});

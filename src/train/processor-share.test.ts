import { describe, expect, it } from 'vitest';
import { othersShare, processorTimes } from './processor-share.ts';

describe('what others had of the processors', () => {
  it('is what neither idled nor was ours', () => {
    const before = { all: 1000, idle: 400, own: 100 };
    expect(othersShare(before, { all: 2000, idle: 900, own: 500 })).toBeCloseTo(0.1);
    expect(othersShare(before, { all: 2000, idle: 900, own: 700 })).toBe(0);
    expect(othersShare(before, before)).toBe(0);
  });

  it('is read of this machine', () => {
    const { all, idle, own } = processorTimes();
    expect(all).toBeGreaterThan(idle);
    expect(own).toBeGreaterThan(0);
    expect(own).toBeLessThan(all);
  });
});

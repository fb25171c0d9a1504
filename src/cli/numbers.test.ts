import { describe, expect, it } from 'vitest';
import { formatCount, formatDuration, formatRate, formatShare, formatValue, plural } from './numbers.ts';

describe('numbers', () => {
  it('are grouped by thousands', () => {
    expect([0, 999, 1000, 1234567, 12.6].map(formatCount)).toEqual(['0', '999', '1,000', '1,234,567', '13']);
    expect([plural(1, 'row'), plural(2, 'row'), plural(0, 'row')]).toEqual(['1 row', '2 rows', '0 rows']);
  });

  it('say durations as a clock does', () => {
    expect([0, 0.3, 9.94, 12.4, 59.4, 65, 3725, 86_400 * 3 + 4 * 3600, Number.POSITIVE_INFINITY].map(formatDuration)).toEqual(
      ['0 s', '0.3 s', '9.9 s', '12 s', '59 s', '1:05', '1:02:05', '3 d 4 h', '?']);
  });

  it('say none and all only where that is so', () => {
    expect([0, 0.0001, 0.02, 0.0994, 0.0996, 0.61, 0.996, 0.99999, 1, 1.3].map(formatShare)).toEqual(
      ['0 %', '<0.1 %', '2.0 %', '9.9 %', '10 %', '61 %', '99.6 %', '99.9 %', '100 %', '130 %']);
  });

  it('have four places', () => {
    expect([3.21456, 0.0123456, 1.2344e-7, 123456.7, 0, Number.NaN].map(formatValue)).toEqual(['3.215', '0.01235', '1.234e-7', '1.235e+5', '0.000', 'NaN']);
    expect([2e-5, 0, 1e-3].map(formatRate)).toEqual(['2.00e-5', '0', '1.00e-3']);
  });
});

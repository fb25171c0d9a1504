import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { numberFlag } from './checked-flags.ts';

const refused = (message: string): Error => expect.objectContaining({ message }) as Error;

describe('numberFlag', () => {
  it('takes numbers within the limits', () => {
    expect(['0', '1', '.5', '1e-1'].map(numberFlag({ least: 0, most: 1 }))).toEqual([0, 1, 0.5, 0.1]);
    expect(numberFlag({ least: 1, most: 9, whole: true })('3')).toBe(3);
  });

  it('says what it takes', () => {
    const share = numberFlag({ least: 0, most: 1, aboveLeast: true });
    for (const text of ['0', '2', 'x', '']) expect(() => share(text)).toThrowError(refused('It must be a number above 0, at most 1.'));
    expect(() => numberFlag({ least: 1, most: 9, whole: true })('1.5')).toThrowError(refused('It must be a whole number from 1 to 9.'));
    expect(() => share('2')).toThrowError(InvalidArgumentError);
  });
});

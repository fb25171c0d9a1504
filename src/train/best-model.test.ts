import { describe, expect, it } from 'vitest';
import { afterEvaluation, NO_EVALUATION, shouldStopEarly } from './best-model.ts';

describe('afterEvaluation', () => {
  it('remembers the lowest loss and counts evaluations without a lower one', () => {
    const losses = [3, 2, 2, 2.5, 1.9];
    const states = losses.reduce((list, loss, i) => [...list, afterEvaluation(list.at(-1)!, i + 1, loss)], [NO_EVALUATION]);
    expect(states.slice(1).map(({ best }) => best?.step)).toEqual([1, 2, 2, 2, 5]);
    expect(states.slice(1).map(({ without }) => without)).toEqual([0, 0, 1, 2, 0]);
  });

  it('stops after so many evaluations in a row without a lower loss', () => {
    const state = { best: { step: 1, loss: 1 }, without: 2 };
    expect([1, 2, 3, undefined].map((patience) => shouldStopEarly(state, patience))).toEqual([true, true, false, false]);
    expect(shouldStopEarly(NO_EVALUATION, 1)).toBe(false);
  });
});

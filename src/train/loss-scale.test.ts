import { describe, expect, it } from 'vitest';
import { INITIAL_LOSS_SCALE, lossScaling, nextLossScale, type LossScaleState } from './loss-scale.ts';
import type { UpdateResult } from './run-update.ts';

const done: UpdateResult = { kind: 'done', loss: 2, gradientNorm: 3, health: {} };
const overflow: UpdateResult = { kind: 'not-finite', loss: 2, gradientNorm: Infinity, applied: false, submissions: [] };
const broken: UpdateResult = { kind: 'not-finite', loss: NaN, gradientNorm: NaN, applied: false, submissions: [] };

function after(state: LossScaleState, finite: boolean, times: number): LossScaleState {
  let next = state;
  for (let i = 0; i < times; i++) next = nextLossScale(next, { finite });
  return next;
}

describe('nextLossScale', () => {
  it('starts where torch.amp.GradScaler does', () => {
    expect(INITIAL_LOSS_SCALE).toEqual({ scale: 65536, goodSteps: 0, skipped: 0 });
  });

  it('halves at once and starts counting anew', () => {
    expect(nextLossScale({ scale: 65536, goodSteps: 1999, skipped: 4 }, { finite: false })).toEqual({ scale: 32768, goodSteps: 0, skipped: 5 });
  });

  it('doubles after 2000 good updates in a row, not after 1999', () => {
    expect(after(INITIAL_LOSS_SCALE, true, 1999)).toEqual({ scale: 65536, goodSteps: 1999, skipped: 0 });
    expect(after(INITIAL_LOSS_SCALE, true, 2000)).toEqual({ scale: 131072, goodSteps: 0, skipped: 0 });
    const broken = nextLossScale(after(INITIAL_LOSS_SCALE, true, 1999), { finite: false });
    expect(after(broken, true, 1999).scale).toBe(32768);
    expect(after(broken, true, 2000).scale).toBe(65536);
  });

  it('stays a number of f32', () => {
    expect(after({ scale: 2 ** 127, goodSteps: 0, skipped: 0 }, true, 2000).scale).toBe(2 ** 127);
  });
});

describe('lossScaling', () => {
  it('asks and changes nothing where the loss is not scaled', () => {
    const scaling = lossScaling({ scales: false, state: { scale: 8, goodSteps: 1, skipped: 1 } });
    expect(scaling.scalars(7)).toEqual({ step: 7 });
    expect(scaling.judge(overflow)).toBe(overflow);
    expect(scaling.state).toBeUndefined();
  });

  it('skips overflowing updates, which the optimizer does not count', () => {
    const scaling = lossScaling({ scales: true, state: undefined });
    expect(scaling.scalars(1)).toEqual({ step: 1, lossScale: 65536 });
    expect(scaling.judge(overflow)).toEqual({ kind: 'skipped', loss: 2, gradientNorm: null });
    expect(scaling.scalars(2)).toEqual({ step: 1, lossScale: 32768 });
    expect(scaling.judge(done)).toBe(done);
    expect(scaling.scalars(3)).toEqual({ step: 2, lossScale: 32768 });
    expect(scaling.state).toEqual({ scale: 32768, goodSteps: 1, skipped: 1 });
  });

  it('goes on from a stored state, and an interruption changes nothing', () => {
    const state = { scale: 1024, goodSteps: 1999, skipped: 3 };
    const scaling = lossScaling({ scales: true, state });
    expect(scaling.judge({ kind: 'stopped' })).toEqual({ kind: 'stopped' });
    expect(scaling.state).toEqual(state);
    expect(scaling.scalars(10)).toEqual({ step: 7, lossScale: 1024 });
    scaling.judge(done);
    expect(scaling.state?.scale).toBe(2048);
  });

  it('gives up when no scale is small enough, or when the loss itself is not finite', () => {
    const scaling = lossScaling({ scales: true, state: undefined });
    let halvings = 0;
    for (; scaling.judge(overflow).kind === 'skipped'; halvings++);
    expect(halvings).toBe(30);
    expect(scaling.state?.scale).toBe(2 ** -14);
    expect(scaling.judge(overflow)).toMatchObject({ kind: 'not-finite', hint: expect.stringContaining('--bf16') as unknown });
    expect(lossScaling({ scales: true, state: undefined }).judge(broken)).toMatchObject({ kind: 'not-finite', hint: expect.stringContaining('65536') as unknown });
  });
});

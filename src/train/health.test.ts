/** Lost updates are counted by part of the model, over made-up weights that a test changes like an update would. */

import { describe, expect, it } from 'vitest';
import { createReferenceDevice } from '../devices/reference/reference-device.ts';
import { decodeElements, dtypeBytes, encodeElements, type DType } from '../graph/dtype.ts';
import type { Parameter } from '../models/parameters.ts';
import { HealthMeter, type HealthOptions } from './health.ts';
import { TrainingState } from './training-state.ts';

const SHAPES: readonly (readonly [name: string, kind: Parameter['kind'], count: number])[] = [
  ['model.embed_tokens.weight', 'embedding', 4000],
  ['model.layers.0.self_attn.q_proj.weight', 'matrix', 3000],
  ['model.layers.0.mlp.up_proj.weight', 'matrix', 1024],
  ['model.layers.0.mlp.up_proj.bias', 'bias', 7],
  ['model.norm.weight', 'norm', 33],
  ['lm_head.weight', 'matrix', 5000],
];

/** Weights of 0.05 and a meter that begins behind step `step`. */
async function begin({ dtype = 'f32', step = 0, ...options }: Partial<HealthOptions> & { readonly dtype?: DType; readonly step?: number } = {}) {
  let offset = 0;
  const persistent = new Map(SHAPES.map(([name, , count], id) => {
    const block = { value: { id, name, dtype, shape: [count], storage: 'parameter' as const, persistent: true, scope: '' }, offset };
    offset += Math.ceil((count * dtypeBytes(dtype)) / 64) * 64;
    return [name, block];
  }));
  const state = await TrainingState.create(
    createReferenceDevice(), { alignment: 64, persistent, persistentBytes: offset, programs: [], arenaBytes: offset, filed: new Map(), fileBytes: 0, peakLiveBytes: offset }, new Map(),
  );
  for (const [name, , count] of SHAPES) state.arena.write(state.block(name).offset, encodeElements(dtype, Array.from({ length: count }, () => 0.05)));
  const meter = new HealthMeter(state, step, {
    parameters: SHAPES.map(([name, kind]) => ({ name, kind })), frozen: [], stochasticRounding: false, peakLearningRate: 1e-3, ...options,
  });
  /** Adds `delta` to elements of a tensor, rounding to nearest. */
  const update = (name: string, delta: number, which: (index: number) => boolean = () => true): void => {
    const { value, offset: at } = state.block(name);
    const old = [...decodeElements(dtype, state.arena.read(at, value.shape[0]! * dtypeBytes(dtype)))];
    state.arena.write(at, encodeElements(dtype, old.map((weight, index) => (which(index) ? weight + delta : weight))));
  };
  const updateAll = (delta: number): void => SHAPES.forEach(([name]) => update(name, delta));
  return { meter, update, updateAll };
}

const at = (step: number, changes: object = {}) => ({ step, learningRate: 1e-3, gradientNorm: 1, ...changes });

describe('lost updates', () => {
  it('are none where every element moves, and embeddings are left out', async () => {
    const { meter, updateAll } = await begin();
    updateAll(1e-3);
    expect(meter.afterStep(at(1))).toEqual([{ kind: 'health', step: 1, lost: { attention: 0, mlp: 0, norm: 0, head: 0 }, nonFiniteSteps: 0 }]);
  });

  it('are counted by group, in the sampled elements', async () => {
    const { meter, update, updateAll } = await begin();
    updateAll(1e-3);
    update('model.layers.0.mlp.up_proj.bias', -1e-3); // back where it was: 7 of 1031
    update('lm_head.weight', -1e-3, (index) => index % 2 === 0);
    const [event, ...warnings] = meter.afterStep(at(1));
    expect(event).toMatchObject({ lost: { attention: 0, norm: 0, head: 0.5 } });
    expect(event!.kind === 'health' ? event!.lost['mlp'] : NaN).toBeCloseTo(7 / 1031, 12);
    expect(warnings).toEqual([]);
  });

  it('see one changed bit of one element at either end of a tensor', async () => {
    const { meter, update } = await begin();
    update('model.layers.0.self_attn.q_proj.weight', 2 ** -28, (index) => index === 0 || index === 2999);
    const [event] = meter.afterStep(at(1));
    expect(event).toMatchObject({ lost: { attention: 1022 / 1024, mlp: 1 } });
  });

  it('in bf16 that rounds to nearest are most at a usual rate: one warning per group, with the remedy', async () => {
    const { meter, updateAll } = await begin({ dtype: 'bf16', peakLearningRate: 2e-5 });
    updateAll(2e-5); // half a unit in the last place of 0.05 is 1.2e-4
    const [event, ...warnings] = meter.afterStep(at(1, { learningRate: 2e-5 }));
    expect(event).toMatchObject({ lost: { attention: 1, mlp: 1, norm: 1, head: 1 } });
    expect(warnings.map((warning) => (warning.kind === 'warning' ? warning.message : ''))).toEqual(['attention', 'mlp', 'norm', 'head'].map((group) =>
      `100 % of the updates of ${group} are lost to rounding at step 1 (learning rate 0.00002, bf16 weights): raise --learning-rate, or keep the weights in f32`));
    for (let step = 2; step < 10; step++) meter.afterStep(at(step, { learningRate: 2e-5 }));
    expect(meter.afterStep(at(10, { learningRate: 2e-5 })).map(({ kind }) => kind)).toEqual(['health']);
  });

  it('are not counted where rounding is stochastic', async () => {
    const { meter } = await begin({ dtype: 'bf16', stochasticRounding: true });
    expect(meter.afterStep(at(1))).toEqual([{ kind: 'health', step: 1, lost: {}, nonFiniteSteps: 0 }]);
  });

  it('in f32 are a warning at a rate too small to change anything, not in warm-up or at the end of a decay', async () => {
    const { meter, updateAll } = await begin({ peakLearningRate: 1e-12 });
    updateAll(1e-12);
    expect(meter.afterStep(at(1, { learningRate: 1e-12 })).filter(({ kind }) => kind === 'warning')).toHaveLength(4);
    const late = await begin({ peakLearningRate: 1e-3 });
    expect(late.meter.afterStep(at(1, { learningRate: 1e-12 }))).toMatchObject([{ kind: 'health', lost: { mlp: 1 } }]);
  });

  it('are not counted where nothing is to move: rate or gradient 0, frozen tensors', async () => {
    const { meter } = await begin({ frozen: ['lm_head.weight', 'model.norm.weight'] });
    expect(meter.afterStep(at(1, { learningRate: 0 }))).toMatchObject([{ lost: {} }]);
    const other = await begin({ frozen: ['lm_head.weight', 'model.norm.weight'] });
    expect(other.meter.afterStep(at(1, { gradientNorm: 0 }))).toMatchObject([{ lost: {} }]);
    const third = await begin({ frozen: ['lm_head.weight', 'model.norm.weight'] });
    expect(Object.keys((third.meter.afterStep(at(1))[0] as { lost: object }).lost)).toEqual(['attention', 'mlp']);
  });
});

describe('the meter', () => {
  it('measures the first step of a run and then every tenth, and only the update of that step', async () => {
    const { meter, updateAll } = await begin({ step: 3 });
    const measured: number[] = [];
    for (let step = 4; step <= 40; step++) {
      if (step !== 20) updateAll(1e-3);
      const events = meter.afterStep(at(step));
      if (events.length > 0) measured.push(step);
      if (step === 20) expect(events[0]).toMatchObject({ kind: 'health', lost: { attention: 1, mlp: 1 } });
      else if (events.length > 0) expect(events).toMatchObject([{ lost: { attention: 0, mlp: 0 } }]);
    }
    expect(measured).toEqual([4, 10, 20, 30, 40]);
  });

  it('passes on what a step knows besides: skipped updates, loss scale, error of quantised state', async () => {
    const { meter, updateAll } = await begin();
    updateAll(1e-3);
    expect(meter.afterStep(at(1, { lossScale: 65536, quantisationError: 0.01 }))).toMatchObject([{ lossScale: { now: 65536, changes: [{ step: 1, scale: 65536 }] }, quantisationError: 0.01 }]);
    for (let step = 2; step < 10; step++) meter.afterStep(at(step, step === 5 ? { skipped: true, lossScale: 32768 } : { lossScale: step < 5 ? 65536 : 32768 }));
    expect(meter.afterStep(at(10, { lossScale: 32768, skipped: true }))).toEqual([{
      kind: 'health', step: 10, lost: {}, nonFiniteSteps: 2, lossScale: { now: 32768, changes: [{ step: 5, scale: 32768 }] },
    }]);
  });
});

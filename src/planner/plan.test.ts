import { beforeAll, describe, expect, it } from 'vitest';
import type { PlanRequest, TimeModel } from '../compile/planned-run.ts';
import { cpuSpec } from '../devices/cpu/cpu-spec.ts';
import { parseModelConfig } from '../models/model-config.ts';
import { bytesMoved, opOf } from '../ops/index.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import { ALLOWABLE, type RunConfig } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { Candidate } from './candidate.ts';
import { Evaluator } from './evaluate.ts';
import { planRun } from './plan.ts';
import { search } from './search.ts';
import { combinations } from './space.ts';

const model = parseModelConfig({
  architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 128, intermediate_size: 384, num_hidden_layers: 4, num_attention_heads: 4,
  num_key_value_heads: 2, vocab_size: 2048, tie_word_embeddings: true, max_position_embeddings: 512, rms_norm_eps: 1e-5, hidden_act: 'silu',
}, 'test');

/** A plain roofline: enough to rank by. */
const nodeMs: TimeModel['nodeMs'] = (op, inputs, outputs, attrs) =>
  1e-3 + (opOf(op).bound === 'compute' ? opOf(op).flops(inputs, outputs, attrs) / 1e8 : bytesMoved(op, inputs, outputs, attrs) / 1e7);
const graphMs: TimeModel['graphMs'] = ({ nodes, values }) => nodes.reduce((sum, { op, inputs, outputs, attrs }) => sum + nodeMs(op, inputs.map((id) => values[id]!), outputs.map((id) => values[id]!), attrs), 0);
const time: TimeModel = { nodeMs, graphMs, busyMs: (graph) => [graphMs(graph)] };

function request(memoryBytes: number, changes: Partial<RunConfig> = {}): PlanRequest {
  const settings = resolveSettings({ model: 'm', dataset: 'd', train_batch_size: 4, max_length: 256, ...changes });
  return { settings, model, maxLength: 256, bucketLengths: [256], rowsPerEpoch: 100, frozen: [], device: cpuSpec({ threads: 2 }), memoryBytes, time };
}

/** Every candidate of every combination. */
function everything(): readonly Candidate[] {
  const all = request(0);
  const evaluator = new Evaluator(all);
  return combinations(all).flatMap((combination) => {
    const path = evaluator.path(combination);
    return Array.from({ length: path.last + 1 }, (_, index) => path.evaluate(index));
  });
}

describe('the search', () => {
  let all: readonly Candidate[];
  let budgets: readonly number[];
  beforeAll(() => {
    all = everything();
    const bytes = all.map((candidate) => candidate.bytes).sort((a, b) => a - b);
    budgets = Array.from({ length: 25 }, (_, i) => bytes[Math.floor((i * (bytes.length - 1)) / 24)]!);
  });

  it('has a space worth searching', () => {
    expect(all.length).toBeGreaterThan(100);
    expect(Math.max(...all.map(({ bytes }) => bytes))).toBeGreaterThan(1.1 * Math.min(...all.map(({ bytes }) => bytes)));
  });

  it('finds what exhaustive search finds, for any budget', () => {
    for (const budget of budgets) {
      const fastest = Math.min(...all.filter(({ bytes }) => bytes <= budget).map(({ stepMs }) => stepMs));
      const best = search(combinations(request(budget)), new Evaluator(request(budget)), budget)?.candidate;
      expect(best!.bytes).toBeLessThanOrEqual(budget);
      expect(best!.stepMs).toBeCloseTo(fastest, 9);
    }
  });

  it('may trust techniques that are never faster than their first value', () => {
    const asked = request(0, { allow: [...ALLOWABLE] });
    const list = combinations(asked);
    const evaluator = new Evaluator(asked);
    const fastest = (plan: TrainingPlan): number => evaluator.path(list.find((other) => other.plan === plan)!).estimate(0).stepMs;
    let compared = 0;
    for (const { plan } of list) {
      const first = list.find((other) => TECHNIQUES.every((each) => each.proposes || each.neverFaster || each.same(other.plan, plan)))!.plan;
      if (first === plan) continue;
      expect(fastest(plan)).toBeGreaterThanOrEqual(fastest(first) * (1 - 1e-12));
      compared++;
    }
    expect(compared).toBeGreaterThan(20);
  });

  it('unfolds each combination from what drops nothing, layer by layer', () => {
    const evaluator = new Evaluator(request(0));
    for (const combination of combinations(request(0)).slice(0, 6)) {
      const path = evaluator.path(combination);
      const dropped = [0, 1, 2].map((index) => path.estimate(index).plan.recompute.dropped.reduce((sum, { layers }) => sum + layers, 0));
      expect(dropped).toEqual([0, 1, 2]);
    }
  });

  it('compiles a small part of the space', () => {
    const evaluator = new Evaluator(request(0));
    search(combinations(request(0)), evaluator, budgets[8]!);
    expect(evaluator.evaluated).toBeLessThan(all.length / 2);
  });

  it('never predicts a slower plan for more memory', () => {
    const times = budgets.map((budget) => planRun(request(budget + 1_000_000)).predictedStepMs);
    times.slice(1).forEach((ms, i) => expect(ms).toBeLessThanOrEqual(times[i]!));
  });

  it('names the smallest plan when none fits, and what would help', () => {
    const planned = planRun(request(1));
    expect(planned.fits).toBe(false);
    const smallest = Math.min(...all.map(({ bytes }) => bytes));
    expect(planned.report.forecastBytes).toBeLessThanOrEqual(smallest * 1.01);
    for (const { change, bytes } of planned.remedies()) {
      expect(change).toMatch(/^--/);
      expect(bytes).toBeLessThanOrEqual(smallest);
    }
  });
});

describe('the plan', () => {
  it('fits, and is explained technique by technique with the figure of what was not taken', () => {
    const plenty = planRun(request(2 ** 34));
    const less = planRun(request(plenty.report.forecastBytes - 1_000_000));
    expect([plenty.fits, less.fits]).toEqual([true, true]);
    expect(less.report.forecastBytes).toBeLessThan(plenty.report.forecastBytes);
    expect(less.reasons.some(({ reason }) => /would need \d/.test(reason))).toBe(true);
    expect(less.reasons.every(({ value, reason }) => value !== '' && reason !== '')).toBe(true);
  });

  it('keeps what the settings fix', () => {
    for (const memory of [2 ** 34, 1]) {
      const { plan } = planRun(request(memory, { per_device_train_batch_size: 2, gradient_checkpointing: true }));
      expect(plan.batch).toEqual({ rowsPerUpdate: 4, microBatchSize: 2, accumulationSteps: 2 });
      expect(plan.recompute.dropped.length).toBeGreaterThan(4);
      expect(plan.recompute.dropped.every(({ layers }) => layers === 4)).toBe(true);
    }
    expect(planRun(request(1, { gradient_checkpointing: false })).plan.recompute.dropped).toEqual([]);
  });

  it('refuses settings that exclude each other, with the reason', () => {
    expect(() => planRun(request(2 ** 34, { optimizer_in_backward: true, per_device_train_batch_size: 2 })))
      .toThrowError(expect.objectContaining({ code: 'E_CONFIG', message: expect.stringContaining('summed over 2 micro-batches') as string }) as Error);
  });

  it('changes no numbers unless it is allowed to', () => {
    const strict = planRun(request(1));
    expect(strict.plan.optimizer.kind).toBe('adamw');
    expect(strict.plan.precision).toEqual({ activations: 'f32', weights: 'f32' });
  });

  it('has a frontier without a point that another beats, the chosen one among them', () => {
    const planned = planRun(request(2 ** 34));
    const points = planned.frontier();
    expect(points.filter(({ chosen }) => chosen)).toHaveLength(1);
    for (const { changes, chosen } of points) expect(changes.length > 0).toBe(!chosen);
    points.slice(1).forEach((point, i) => {
      expect(point.forecastBytes).toBeLessThan(points[i]!.forecastBytes);
      expect(point.stepMs).toBeGreaterThan(points[i]!.stepMs);
    });
  });
});

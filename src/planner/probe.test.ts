import { describe, expect, it } from 'vitest';
import type { PlanRequest } from '../compile/planned-run.ts';
import { genericCalibration } from '../cost/calibration.ts';
import { createCostModel, FULL_ROWS } from '../cost/cost-model.ts';
import { cpuSpec } from '../devices/cpu/cpu-spec.ts';
import { RandomStream } from '../base/random.ts';
import { parseModelConfig } from '../models/model-config.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import { ALLOWABLE, type RunConfig } from '../run/run-config.ts';
import { Evaluator } from './evaluate.ts';
import { search } from './search.ts';
import { combinations } from './space.ts';

function request(layers: number, changes: Partial<RunConfig> = {}, frozen: readonly string[] = []): PlanRequest {
  const model = parseModelConfig({
    architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 128, intermediate_size: 384, num_hidden_layers: layers, num_attention_heads: 4,
    num_key_value_heads: 2, vocab_size: 2048, tie_word_embeddings: true, max_position_embeddings: 512, rms_norm_eps: 1e-5, hidden_act: 'silu',
  }, 'test');
  const settings = resolveSettings({ model: 'm', dataset: 'd', train_batch_size: 4, max_length: 256, ...changes });
  const time = createCostModel(genericCalibration({ threads: 2 }), FULL_ROWS);
  return { settings, model, maxLength: 256, bucketLengths: [256], rowsPerEpoch: 100, frozen, device: cpuSpec({ threads: 2 }), memoryBytes: 0, time };
}

/** The first two layers but for one matrix, and the embedding. */
const FROZEN = ['model.embed_tokens.weight', ...[0, 1].flatMap((layer) => ['input_layernorm', 'mlp.up_proj', 'mlp.down_proj'].map((name) => `model.layers.${layer}.${name}.weight`))];

describe('a probe', () => {
  it.each([
    ['any plan', request(9, { allow: [...ALLOWABLE] })],
    ['activations in a file', request(12, { offload_activation_layers: 5 })],
    ['frozen layers', request(10, {}, FROZEN)],
  ] as const)('tells the time of a deep model, and no more memory than it needs: %s', (_, asked) => {
    const list = combinations(asked);
    const evaluator = new Evaluator(asked);
    const random = new RandomStream(7, 0);
    let exact = 0;
    for (let i = 0; i < 25; i++) {
      const path = evaluator.path(list[Math.floor(random.uniform() * list.length)]!);
      const index = Math.floor(random.uniform() * (path.last + 1));
      const probed = path.estimate(index);
      const found = path.evaluate(index);
      const { arenaBytes, peakLiveBytes } = evaluator.memory(found.plan);
      const unplaced = found.bytes - (arenaBytes - peakLiveBytes);
      expect(Math.abs(probed.stepMs / found.stepMs - 1)).toBeLessThan(1e-9);
      expect(probed.bytes).toBeLessThanOrEqual(unplaced);
      expect(probed.bytes).toBeGreaterThan(0.98 * unplaced);
      if (probed.bytes === unplaced) exact++;
    }
    expect(exact).toBeGreaterThanOrEqual(20);
    expect(evaluator.trustsProbes).toBe(true);
  });

  it('leaves few plans to evaluate at full depth', () => {
    const asked = request(30);
    const list = combinations(asked);
    const evaluator = new Evaluator(asked);
    const sizes = list.map((combination) => evaluator.path(combination)).flatMap((path) => [path.estimate(0).bytes, path.estimate(path.last).bytes]);
    expect(evaluator.evaluated).toBe(0);
    const [most, least] = [Math.max(...sizes), Math.min(...sizes)];
    const budgets = [0.1, 0.4, 0.8].map((share) => least + share * (most - least));
    for (const budget of budgets) expect(search(list, evaluator, budget)!.candidate.bytes).toBeLessThanOrEqual(budget);
    expect(evaluator.evaluated).toBeLessThanOrEqual(2 * budgets.length);
  });
});

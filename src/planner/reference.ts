/** The technique table as a page of the documentation shows it. */

import { parseModelConfig } from '../models/model-config.ts';
import { buildGraphs } from '../compile/compile.ts';
import { ALLOWABLE } from '../run/run-config.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import { plainPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { TechniqueContext } from '../techniques/technique.ts';

/** Any small model will do: values are described, not counted. */
const MODEL = {
  architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4,
  num_key_value_heads: 2, vocab_size: 256, tie_word_embeddings: true, max_position_embeddings: 512, rms_norm_eps: 1e-5, hidden_act: 'silu',
};

/** A Markdown table: technique, keys, each value with its tier, what it saves and costs. */
export function techniquesReference(): string {
  const settings = resolveSettings({ model: 'm', dataset: 'd', train_batch_size: 4, allow: [...ALLOWABLE] });
  const start = plainPlan({ rowLength: 512 });
  const graph = buildGraphs({ model: parseModelConfig(MODEL, 'reference'), plan: start, purpose: 'train' })['step']!;
  const context: TechniqueContext = { settings, maxLength: 512, bucketLengths: [512], rowsPerEpoch: 1000, step: { graph, layers: MODEL.num_hidden_layers, nodeMs: () => 1 } };
  const rows = TECHNIQUES.flatMap((technique) => {
    const plans = technique.alternatives(start, context);
    const shown = technique.proposes ? [plans[0]!, plans.at(-1)!] : plans;
    const keys = technique.keys.map((key) => `\`${key}\``).join(', ');
    return shown.map((plan, index) => {
      const { value, saves, costs } = technique.explain(plan);
      const tier = technique.numerics(plan);
      return `| ${index === 0 ? technique.name : ''} | ${index === 0 ? keys : ''} | ${value} | ${tier} | ${saves} | ${costs} |`;
    });
  });
  return ['| technique | keys | value | numbers | saves | costs |', '|---|---|---|---|---|---|', ...rows].join('\n');
}

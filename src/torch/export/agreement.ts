/** A setting that the user gives with a plan must be the plan's: the plan is what is exported. */

import { FulltuneError } from '../../base/errors.ts';
import type { ConfigKey } from '../../run/config-schema.ts';
import { optimizerName } from '../../run/resolve-settings.ts';
import type { RunConfig } from '../../run/run-config.ts';
import type { TorchPlan } from '../../run/torch-plan.ts';
import type { TrainingPlan } from '../../run/training-plan.ts';
import { exportPlanOf } from './export-plan.ts';

type Plan = ReturnType<typeof exportPlanOf>;

/** What the plan says of a key; undefined where it says nothing about this one. */
const SAYS: { readonly [K in ConfigKey]?: (plan: Plan) => RunConfig[K] } = {
  packing: ({ packing }) => packing.packed,
  train_batch_size: ({ batch }) => batch.rowsPerUpdate,
  gradient_checkpointing: ({ recompute }) => recompute.kind !== 'none',
  optimizer_in_backward: ({ update }) => update === 'in-backward',
  bf16_weights: ({ precision }) => precision === 'bf16-weights',
  fp16: ({ precision }) => precision === 'f16',
  chunked_loss: ({ loss }) => loss.kind === 'chunked',
  adam_beta1: ({ optimizer }) => ('beta2' in optimizer ? optimizer.beta1 : undefined),
  adam_beta2: ({ optimizer }) => ('beta2' in optimizer ? optimizer.beta2 : undefined),
  adam_epsilon: ({ optimizer }) => ('epsilon' in optimizer ? optimizer.epsilon : undefined),
  adafactor_beta1: ({ optimizer }) => (optimizer.kind === 'adafactor' ? optimizer.beta1 : undefined),
  optim_8bit_embeddings: ({ optimizer }) => (optimizer.kind === 'adamw_8bit' ? optimizer.embeddings : undefined),
  sgd_momentum: ({ optimizer }) => (optimizer.kind === 'sgd' ? optimizer.momentum : undefined),
  weight_decay: ({ optimizer }) => optimizer.weightDecay,
  max_grad_norm: ({ maxGradNorm }) => maxGradNorm,
  seed: ({ seed }) => seed,
  sharding: ({ sharding }) => sharding,
  cpu_offload: ({ cpuOffload }) => cpuOffload,
  torch_compile: ({ compile }) => compile,
  attn_implementation: ({ attention }) => (attention === 'flex' ? 'flex_attention' : attention),
};

/** Throws E_CONFIG, naming the key and both values. */
export function checkAgreement(plan: TrainingPlan | TorchPlan, config: Partial<RunConfig>): void {
  const whole = exportPlanOf(plan);
  for (const [key, says] of Object.entries(SAYS)) {
    const [wanted, has] = [config[key as ConfigKey], says(whole)];
    if (wanted !== undefined && has !== undefined && wanted !== has) throw differs(`${key} ${String(wanted)}`, String(has));
  }
  const { batch, packing, precision, optimizer, frozen } = whole;
  if (config.optim !== undefined && optimizerName(config.optim) !== optimizer.kind) throw differs(`optim ${config.optim}`, optimizer.kind);
  if (config.bf16 !== undefined && config.bf16 !== precision.startsWith('bf16')) throw differs(`bf16 ${config.bf16}`, precision);
  const longest = packing.rowLengths.at(-1)!;
  if (config.max_length !== undefined && longest > config.max_length) throw differs(`max_length ${config.max_length}`, String(longest));
  const tokens = config.train_batch_tokens;
  if (tokens !== undefined && Math.max(1, Math.floor(tokens / longest)) !== batch.rowsPerUpdate) throw differs(`train_batch_tokens ${tokens}`, `${batch.rowsPerUpdate} rows of ${longest}`);
  const [micro, steps] = [config.per_device_train_batch_size, config.gradient_accumulation_steps];
  if (micro !== undefined && micro !== batch.microBatchSize) throw differs(`per_device_train_batch_size ${micro}`, String(batch.microBatchSize));
  if (steps !== undefined && steps !== batch.accumulationSteps) throw differs(`gradient_accumulation_steps ${steps}`, String(batch.accumulationSteps));
  if (config.freeze !== undefined && config.freeze.length > 0 && frozen.length === 0) throw differs(`freeze ${config.freeze.join(', ')}`, 'no frozen parameters');
}

function differs(wanted: string, has: string): FulltuneError {
  return new FulltuneError('E_CONFIG', `the settings say ${wanted}, and the plan has ${has}`, {
    where: 'plan', remedy: 'Make a new plan with these settings: fulltune plan CONFIG --json > plan.json.',
  });
}

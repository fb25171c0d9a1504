/** DeepSpeed: the JSON that `deepspeed --deepspeed_config` takes, and its sections without optimizer and schedule, which other trainers embed. */

import { DEEPSPEED_KEYS } from '../trainer-keys/deepspeed.ts';
import { machineRules } from './common-rules.ts';
import type { ExportedRun } from './exported-run.ts';
import { script, settingsOfScript } from './script-rules.ts';
import { Sheet, type Value } from './sheet.ts';
import { absent, forPlanningOnly, type Rule, type Trainer } from './trainer.ts';

const title = 'DeepSpeed';

/** ZeRO: 2 shards gradients and state, 3 parameters too. Offload needs at least 2. */
export function zeroStage({ plan, ranks }: ExportedRun): 0 | 2 | 3 {
  if (plan.sharding === 'fsdp' || plan.cpuOffload) return 3;
  if (plan.sharding === 'zero2' || plan.offloadedState) return 2;
  return ranks > 1 && plan.sharding === 'none' ? 2 : 0;
}

const batch: Rule = (run, sheet) => {
  sheet.set('train_batch_size', run.rowsPerUpdate);
  sheet.set('train_micro_batch_size_per_gpu', run.microBatchSize);
  sheet.set('gradient_accumulation_steps', run.accumulationSteps);
};

const precision: Rule = ({ plan }, sheet) => {
  sheet.set('bf16.enabled', plan.precision === 'bf16' || plan.precision === 'bf16-weights');
  sheet.set('fp16.enabled', plan.precision === 'f16');
  if (plan.precision === 'f16') {
    sheet.set('fp16.loss_scale', 0);
    sheet.set('fp16.initial_scale_power', 16);
  }
  if (plan.precision === 'bf16-weights') {
    sheet.lost('bf16_weights true', 'DeepSpeed keeps float32 masters beside bfloat16 weights', 'It needs 4 bytes per parameter more, and loses no small updates.');
  }
  if (plan.precision === 'bf16' || plan.precision === 'f16') {
    sheet.lost(`${plan.precision === 'bf16' ? 'bf16' : 'fp16'} true`, 'DeepSpeed holds the weights in 16 bits beside float32 masters', 'It needs 2 bytes per parameter more; gradients take 2 bytes instead of 4.');
  }
};

const sharding: Rule = (run, sheet) => {
  const stage = zeroStage(run);
  sheet.set('zero_optimization.stage', stage);
  if (stage === 0) return;
  sheet.set('zero_optimization.overlap_comm', true);
  sheet.set('zero_optimization.contiguous_gradients', true);
  if (run.plan.cpuOffload || run.plan.offloadedState) {
    sheet.set('zero_optimization.offload_optimizer.device', 'cpu');
    sheet.set('zero_optimization.offload_optimizer.pin_memory', true);
    if (run.plan.offloadedState) sheet.lost('offload_optimizer_state true', 'the plan keeps optimizer state in a file', 'DeepSpeed keeps it in the memory of the host.');
  }
  if (run.plan.cpuOffload) {
    sheet.set('zero_optimization.offload_param.device', 'cpu');
    sheet.set('zero_optimization.offload_param.pin_memory', true);
  }
  if (stage === 3) sheet.set('zero_optimization.stage3_gather_16bit_weights_on_model_save', true);
};

const clipping: Rule = ({ plan }, sheet) => sheet.set('gradient_clipping', plan.maxGradNorm);

/** What other trainers embed under their own optimizer and schedule. */
export function deepspeedSections(run: ExportedRun, notes: Sheet): Readonly<Record<string, Value>> {
  const sheet = new Sheet();
  for (const rule of [batch, precision, sharding, clipping]) rule(run, sheet);
  for (const { setting, reason, instead } of sheet.untranslated) notes.lost(setting, reason, instead);
  return sheet.nested();
}

/** DeepSpeed has no such optimizer: the script makes it, and its schedule with it. */
function isMadeInScript({ optimizer: { kind } }: ExportedRun['plan']): boolean {
  return kind === 'adamw_8bit' || kind === 'adamw_4bit' || kind === 'adafactor';
}

const optimizer: Rule = ({ plan: { optimizer: choice }, settings }, sheet) => {
  const common = { lr: settings.learning_rate, weight_decay: choice.weightDecay };
  switch (choice.kind) {
    case 'adamw':
      sheet.set('optimizer.type', 'AdamW');
      return sheet.set('optimizer.params', { ...common, betas: [choice.beta1, choice.beta2], eps: choice.epsilon });
    case 'lion':
      sheet.set('optimizer.type', 'Lion');
      return sheet.set('optimizer.params', { ...common, betas: [choice.beta1, choice.beta2] });
    case 'sgd':
      sheet.set('optimizer.type', 'SGD');
      sheet.set('zero_allow_untested_optimizer', true);
      return sheet.set('optimizer.params', { ...common, momentum: choice.momentum });
    case 'adamw_8bit':
    case 'adamw_4bit':
    case 'adafactor':
      sheet.set('zero_allow_untested_optimizer', true);
      sheet.set('zero_force_ds_cpu_optimizer', false);
      return sheet.lost(`optim ${choice.kind}`, 'DeepSpeed has no such optimizer of its own', 'Make it in the script and pass it to deepspeed.initialize(optimizer=...).');
    default:
      choice satisfies never;
  }
};

const schedule: Rule = ({ settings, totalSteps, plan }, sheet) => {
  if (isMadeInScript(plan)) return;
  const warm = settings.warmup_steps ?? (totalSteps === undefined ? undefined : Math.ceil((settings.warmup_ratio ?? 0) * totalSteps));
  const name = `lr_scheduler_type ${settings.lr_scheduler_type}`;
  if (settings.lr_scheduler_type === 'constant') return;
  if (warm === undefined || (totalSteps === undefined && settings.lr_scheduler_type !== 'constant_with_warmup')) {
    return sheet.lost(name, 'DeepSpeed counts the steps of a schedule, and their number is not known here', 'Give the output of fulltune plan --json with a dataset, or set max_steps; or make the schedule in the script.');
  }
  const warmup = { warmup_num_steps: Math.max(1, warm), warmup_type: 'linear' };
  switch (settings.lr_scheduler_type) {
    case 'constant_with_warmup':
      sheet.set('scheduler.type', 'WarmupLR');
      return sheet.set('scheduler.params', { warmup_min_lr: 0, warmup_max_lr: settings.learning_rate, ...warmup });
    case 'linear':
      sheet.set('scheduler.type', 'WarmupDecayLR');
      return sheet.set('scheduler.params', { total_num_steps: totalSteps!, warmup_min_lr: 0, warmup_max_lr: settings.learning_rate, ...warmup });
    case 'cosine':
      sheet.set('scheduler.type', 'WarmupCosineLR');
      return sheet.set('scheduler.params', { total_num_steps: totalSteps!, warmup_min_ratio: 0, cos_min_ratio: 0, ...warmup });
    default:
      settings.lr_scheduler_type satisfies never;
  }
};

export const deepspeed: Trainer = {
  name: 'deepspeed',
  title,
  version: '0.19.8',
  format: 'json',
  fileName: 'deepspeed.json',
  needs: [],
  keys: DEEPSPEED_KEYS,
  plan: {
    batch, precision, sharding, optimizer, maxGradNorm: clipping,
    packing: script('max_length', ({ rowLength, plan }) => `${rowLength}${plan.packing.packed ? ', packed' : ''}`),
    loss: script('chunked_loss', ({ plan }) => (plan.loss.kind === 'chunked' ? true : undefined)),
    recompute: ({ plan }, sheet) => {
      if (plan.recompute.kind !== 'none') sheet.lost(`recompute ${plan.recompute.kind === 'selective' ? 'selective' : `of ${plan.recompute.layers} layers`}`, 'DeepSpeed recomputes only what the model asks it to', 'Call model.gradient_checkpointing_enable() in the script.');
    },
    update: ({ plan }, sheet) => {
      if (plan.update === 'in-backward') sheet.lost('optimizer_in_backward true', 'DeepSpeed updates after backward', 'Under ZeRO gradients are sharded, and freed bucket by bucket.');
    },
    offloadedState: forPlanningOnly, // with the sharding
    offloadedActivations: ({ plan }, sheet) => {
      if (plan.offloadedActivations) sheet.lost('offload_activation_layers', 'DeepSpeed moves only the checkpoints that its own deepspeed.checkpointing makes', 'They stay in the memory of the device.');
    },
    attention: script('attention', ({ plan }) => plan.attention),
    compile: script('torch.compile', ({ plan }) => (plan.compile ? true : undefined)),
    frozen: script('freeze', ({ config, plan }) => (plan.frozen.length === 0 ? undefined : (config.freeze ?? plan.frozen).join(', '))),
    seed: script('seed', ({ plan }) => plan.seed),
  },
  settings: {
    ...settingsOfScript,
    learning_rate: ({ plan, settings }, sheet) => {
      if (isMadeInScript(plan)) sheet.elsewhere.push(`learning_rate ${settings.learning_rate}`);
    },
    lr_scheduler_type: schedule,
    warmup_steps: forPlanningOnly, // with the schedule
    warmup_ratio: forPlanningOnly,
    logging_steps: ({ settings }, sheet) => sheet.set('steps_per_print', settings.logging_steps),
    ...machineRules(title),
    device: absent('device', 'DeepSpeed runs on what PyTorch finds', 'Set DS_ACCELERATOR.'),
  },
  command: ({ nodes, ranksPerNode }, file) => [`deepspeed ${nodes > 1 ? `--hostfile HOSTS --num_nodes ${nodes} ` : ''}--num_gpus ${ranksPerNode} YOUR_SCRIPT.py --deepspeed --deepspeed_config ${file}`],
  batchOf: (values, { ranks }) => ({ microBatchSize: Number(values.get('train_micro_batch_size_per_gpu')), accumulationSteps: Number(values.get('gradient_accumulation_steps')), ranks }),
};

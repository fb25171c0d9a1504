/** Rules that TRL and LLaMA-Factory share: both read transformers' TrainingArguments. Plan first, settings below. */

import type { OptimizerName } from '../../run/run-config.ts';
import { deepspeedSections } from './deepspeed.ts';
import type { ExportedRun } from './exported-run.ts';
import type { Sheet } from './sheet.ts';
import { evaluates } from './common-rules.ts';
import type { PlanRules, SettingRules, Trainer } from './trainer.ts';

/** transformers' name of an optimizer; bitsandbytes has the eight-bit and the Lion one, torchao the four-bit one. */
export const TRANSFORMERS_OPTIMIZER: Readonly<Record<OptimizerName, string>> = {
  adamw: 'adamw_torch_fused', adamw_8bit: 'adamw_bnb_8bit', adamw_4bit: 'adamw_torch_4bit', adafactor: 'adafactor', lion: 'lion_32bit', sgd: 'sgd',
};

/** `optim`, betas, weight decay; `key` names the optimizer. */
export function optimizerRule(key: string): PlanRules['optimizer'] {
  return ({ plan: { optimizer } }, sheet) => {
    sheet.set(key, TRANSFORMERS_OPTIMIZER[optimizer.kind]);
    sheet.set('weight_decay', optimizer.weightDecay);
    switch (optimizer.kind) {
      case 'adamw':
        sheet.set('adam_epsilon', optimizer.epsilon);
        break;
      case 'adamw_8bit':
        sheet.set('adam_epsilon', optimizer.epsilon);
        if (optimizer.embeddings) sheet.lost('optim_8bit_embeddings true', 'transformers keeps the moments of embeddings in 32 bits', 'Embeddings take 8 bytes of state per parameter instead of 2.');
        sheet.lost('optim adamw_8bit', 'bitsandbytes rounds its eight-bit blocks in its own way', 'Losses agree closely, not bit for bit. It needs pip install bitsandbytes.');
        break;
      case 'adamw_4bit':
        sheet.set('adam_epsilon', optimizer.epsilon);
        // transformers passes a block of 256 unless it is told otherwise; torchao's own, and that of the plan, is 128.
        sheet.set('optim_args', 'block_size=128');
        sheet.lost('optim adamw_4bit', 'torchao codes the moments of vectors of 4096 and more values, too', 'Losses agree closely, not bit for bit. It needs pip install torchao.');
        break;
      case 'adafactor':
        if (optimizer.beta1 > 0) sheet.lost(`adafactor_beta1 ${optimizer.beta1}`, 'there is no key for a first moment of adafactor', 'It runs without one, with less memory.');
        break;
      case 'lion':
        sheet.lost('optim lion', 'transformers takes Lion from bitsandbytes', 'The same rule; it needs pip install bitsandbytes.');
        break;
      case 'sgd':
        if (optimizer.momentum > 0) sheet.set('optim_args', `momentum=${optimizer.momentum}`);
        break;
      default:
        optimizer satisfies never;
    }
    if ('beta2' in optimizer) {
      sheet.set('adam_beta1', optimizer.beta1);
      sheet.set('adam_beta2', optimizer.beta2);
    }
  };
}

/** Arguments that are the plan's values under another name. */
export const argumentsAlike: Pick<PlanRules, 'compile' | 'maxGradNorm' | 'seed'> = {
  compile: ({ plan }, sheet) => {
    if (plan.compile) sheet.set('torch_compile', true);
  },
  maxGradNorm: ({ plan }, sheet) => sheet.set('max_grad_norm', plan.maxGradNorm),
  seed: ({ plan }, sheet) => {
    sheet.set('seed', plan.seed);
    sheet.set('data_seed', plan.seed);
  },
};

export function batchRule({ microBatchSize, accumulationSteps, plan }: ExportedRun, sheet: Sheet, names: readonly [micro: string, steps: string]): void {
  sheet.set(names[0], microBatchSize);
  sheet.set(names[1], accumulationSteps);
  if (plan.batch.rowsPerUpdate % (plan.batch.microBatchSize * plan.batch.accumulationSteps) !== 0 && plan.worldSize === 1) {
    sheet.lost(`micro-batch ${plan.batch.microBatchSize} × ${plan.batch.accumulationSteps}`, `the last one is filled up to keep ${plan.batch.rowsPerUpdate} rows per update, which this trainer cannot do`,
      `Micro-batch ${microBatchSize} × ${accumulationSteps} keeps the rows per update.`);
  }
}

/** Which of `bf16` and `fp16` is on. */
export function mixedPrecision(run: ExportedRun, sheet: Sheet): void {
  sheet.set('bf16', run.plan.precision === 'bf16');
  sheet.set('fp16', run.plan.precision === 'f16');
}

/** Sharding through `fsdp`/`fsdp_config` or an inline `deepspeed`; recompute belongs to it under FSDP. */
export function shardingRule(title: string, fsdp: (run: ExportedRun, sheet: Sheet) => void): PlanRules['sharding'] {
  return (run, sheet) => {
    if (run.distributed === 'fsdp') fsdp(run, sheet);
    if (run.distributed === 'deepspeed') sheet.set('deepspeed', deepspeedSections(run, sheet));
    if (run.distributed === 'tpu') sheet.lost('--distributed tpu', `${title} takes the device from the launcher`, 'Export to accelerate too, and launch with that config.');
  };
}

export function hostMemory(title: string): Pick<PlanRules, 'offloadedState'> {
  return {
    offloadedState: (run, sheet) => {
      if (run.plan.offloadedState && run.distributed !== 'deepspeed') {
        sheet.lost('offload_optimizer_state true', `${title} keeps optimizer state in the memory of the device`, 'Use --distributed deepspeed, which keeps it in the memory of the host.');
      }
    },
  };
}

/** When a TrainingArguments trainer evaluates and saves. */
export const SCHEDULE_RULES = {
  learning_rate: ({ settings }, sheet) => sheet.set('learning_rate', settings.learning_rate),
  lr_scheduler_type: ({ settings }, sheet) => sheet.set('lr_scheduler_type', settings.lr_scheduler_type),
  warmup_steps: ({ settings }, sheet) => {
    if (settings.warmup_steps !== undefined) sheet.set('warmup_steps', settings.warmup_steps);
  },
  num_train_epochs: ({ settings }, sheet) => sheet.set('num_train_epochs', settings.num_train_epochs),
  max_steps: ({ settings }, sheet) => {
    if (settings.max_steps !== undefined) sheet.set('max_steps', settings.max_steps);
  },
  logging_steps: ({ settings }, sheet) => sheet.set('logging_steps', settings.logging_steps),
  eval_steps: ({ settings }, sheet) => {
    if (!evaluates(settings)) return sheet.set('eval_strategy', 'no');
    sheet.set('eval_strategy', settings.eval_steps === undefined ? 'epoch' : 'steps');
    if (settings.eval_steps !== undefined) sheet.set('eval_steps', settings.eval_steps);
  },
  save_steps: ({ settings }, sheet) => {
    // The best model can only be kept if it was saved when it was evaluated.
    const best = settings.load_best_model_at_end && settings.eval_steps !== settings.save_steps;
    const steps = best ? settings.eval_steps : settings.save_steps;
    if (best) sheet.lost(`save_steps ${settings.save_steps ?? 'each epoch'}`, 'load_best_model_at_end saves exactly when it evaluates', `Checkpoints are written ${steps === undefined ? 'each epoch' : `every ${steps} steps`}.`);
    sheet.set('save_strategy', steps === undefined ? 'epoch' : 'steps');
    if (steps !== undefined) sheet.set('save_steps', steps);
  },
  save_total_limit: ({ settings }, sheet) => sheet.set('save_total_limit', settings.save_total_limit),
  load_best_model_at_end: ({ settings }, sheet) => {
    if (!settings.load_best_model_at_end) return;
    sheet.set('load_best_model_at_end', true);
    sheet.set('metric_for_best_model', 'eval_loss');
    sheet.set('greater_is_better', false);
  },
} as const satisfies Partial<SettingRules>;

/** The batch as TrainingArguments says it. */
export const transformersBatch: Trainer['batchOf'] = (values, { ranks }) => ({
  microBatchSize: Number(values.get('per_device_train_batch_size')), accumulationSteps: Number(values.get('gradient_accumulation_steps')), ranks,
});

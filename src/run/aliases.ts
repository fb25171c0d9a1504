/**
 * Names that other trainers have for our settings, with the same meaning and the same values. They are accepted in the file, as flags and in
 * TypeScript, and a notice says which key was meant. Names that mean something else there are not in this table: config-schema.ts explains them.
 */

import { FulltuneError } from '../base/errors.ts';
import type { RunConfig } from './run-config.ts';

export const ALIASES = {
  // TRL, transformers, LLaMA-Factory
  model_name_or_path: 'model', model_id: 'model', dataset_name: 'dataset', train_file: 'dataset', validation_file: 'eval_dataset', eval_file: 'eval_dataset',
  max_seq_length: 'max_length', max_seq_len: 'max_length', cutoff_len: 'max_length', block_size: 'max_length', chat_template_path: 'chat_template',
  per_device_batch_size: 'per_device_train_batch_size', per_gpu_train_batch_size: 'per_device_train_batch_size', test_split_size: 'eval_fraction', val_size: 'eval_fraction',
  activation_checkpointing: 'gradient_checkpointing', train_on_prompt: 'train_on_inputs', early_stopping_steps: 'early_stopping_patience',
  // axolotl
  base_model: 'model', sequence_len: 'max_length', sample_packing: 'packing', micro_batch_size: 'per_device_train_batch_size', num_epochs: 'num_train_epochs',
  optimizer: 'optim', lr_scheduler: 'lr_scheduler_type', val_set_size: 'eval_fraction', chunked_cross_entropy: 'chunked_loss',
  // DeepSpeed, torchtitan and scripts
  gradient_clipping: 'max_grad_norm', grad_clip: 'max_grad_norm', max_norm: 'max_grad_norm', seq_len: 'max_length', lr: 'learning_rate', epochs: 'num_train_epochs',
  momentum: 'sgd_momentum', beta1: 'adam_beta1', beta2: 'adam_beta2', eps: 'adam_epsilon', num_threads: 'threads',
} as const satisfies Readonly<Record<string, keyof RunConfig>>;

export type Alias = keyof typeof ALIASES;

export function aliasOf(name: string): keyof RunConfig | undefined {
  return Object.hasOwn(ALIASES, name) ? ALIASES[name as Alias] : undefined;
}

/** `base_model means model here`. */
export function aliasNotice(alias: string, key: string, where: string): string {
  return `${where}: ${alias} means ${key} here`;
}

/** One setting under two names is a mistake, even where the values agree: throws E_CONFIG. */
export function bothGiven(key: string, names: readonly string[], where: string): FulltuneError {
  return new FulltuneError('E_CONFIG', `${names.join(' and ')} both set ${key}`, { where, remedy: `Keep ${key} alone.` });
}

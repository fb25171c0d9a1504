/** The contract of a trainer that a run can be exported to. The tables of rules are complete by type: a new setting needs a decision here. */

import type { ConfigKey } from '../../run/config-schema.ts';
import type { ExportedRun } from './exported-run.ts';
import type { Sheet } from './sheet.ts';

/** Keys whose values are in the plan, with the part of it that says them. */
export const DECIDED_BY_PLAN = {
  max_length: 'packing', packing: 'packing',
  train_batch_size: 'batch', train_batch_tokens: 'batch', per_device_train_batch_size: 'batch', gradient_accumulation_steps: 'batch',
  gradient_checkpointing: 'recompute', optimizer_in_backward: 'update', bf16: 'precision', fp16: 'precision', bf16_weights: 'precision', chunked_loss: 'loss',
  freeze: 'frozen', optim: 'optimizer', adam_beta1: 'optimizer', adam_beta2: 'optimizer', adam_epsilon: 'optimizer', adafactor_beta1: 'optimizer',
  optim_8bit_embeddings: 'optimizer', sgd_momentum: 'optimizer', weight_decay: 'optimizer', max_grad_norm: 'maxGradNorm', seed: 'seed',
  offload_optimizer_state: 'offloadedState', offload_activation_layers: 'offloadedActivations',
  sharding: 'sharding', cpu_offload: 'offloadedState', attn_implementation: 'attention', torch_compile: 'compile',
} as const satisfies Partial<Record<ConfigKey, PlanPart>>;

export type SettingKey = Exclude<ConfigKey, keyof typeof DECIDED_BY_PLAN>;

export type PlanPart =
  | 'packing' | 'batch' | 'precision' | 'loss' | 'optimizer' | 'recompute' | 'update' | 'sharding' | 'offloadedState' | 'offloadedActivations'
  | 'attention' | 'compile' | 'maxGradNorm' | 'frozen' | 'seed';

/** Writes keys, or says why not. */
export type Rule = (run: ExportedRun, sheet: Sheet) => void;

export type SettingRules = Readonly<Record<SettingKey, Rule>>;
export type PlanRules = Readonly<Record<PlanPart, Rule>>;

export interface SideFile {
  readonly name: string;
  readonly text: string;
}

export interface Trainer {
  /** As in `--to`. */
  readonly name: string;
  /** As people write it, with the version whose keys are used. */
  readonly title: string;
  readonly version: string;
  readonly format: 'yaml' | 'json' | 'toml';
  /** Default name of the file, shown in the command. */
  readonly fileName: string;
  /** Settings without which there is nothing to write. */
  readonly needs: readonly ('model' | 'dataset' | 'steps')[];
  /** Published keys; with a dot, those of a section. */
  readonly keys: ReadonlySet<string>;
  readonly settings: SettingRules;
  readonly plan: PlanRules;
  /** Files that must lie beside the config. */
  readonly sideFiles?: (run: ExportedRun) => readonly SideFile[];
  /** How to run it, one command a line. */
  readonly command: (run: ExportedRun, file: string) => readonly string[];
  /** Rows per micro-batch, micro-batches and ranks as the written values say them, read back for a check. */
  readonly batchOf: (values: ReadonlyMap<string, unknown>, run: ExportedRun) => { readonly microBatchSize: number; readonly accumulationSteps: number; readonly ranks: number };
}

/** Only planning has to do with it: no word is lost. */
export const forPlanningOnly: Rule = () => undefined;

/** A setting that the trainer has no key for: told when the user set it. */
export function absent(key: SettingKey, reason: string, instead: string): Rule {
  return ({ config }, sheet) => {
    const value = config[key];
    if (value !== undefined) sheet.lost(`${key} ${String(value)}`, reason, instead);
  };
}

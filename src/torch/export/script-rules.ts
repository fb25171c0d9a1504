/** Rules of trainers that are a library: what their config has no key for, the training script must be told. */

import type { ExportedRun } from './exported-run.ts';
import type { Rule, SettingRules } from './trainer.ts';

/** Lists `name` and its value among what the script needs, unless there is none. */
export function script(name: string, value: (run: ExportedRun) => string | number | boolean | undefined): Rule {
  return (run, sheet) => {
    const text = value(run);
    if (text !== undefined && text !== '') sheet.elsewhere.push(`${name} ${text}`);
  };
}

/** What no launcher or engine reads, only the script. */
export const settingsOfScript = {
  model: script('model', ({ config }) => config.model),
  dataset: script('dataset', ({ config }) => config.dataset),
  eval_dataset: script('eval_dataset', ({ config }) => config.eval_dataset),
  eval_fraction: script('eval_fraction', ({ config }) => config.eval_fraction),
  output_dir: script('output_dir', ({ config }) => config.output_dir),
  overlong: script('overlong', ({ config }) => config.overlong),
  shuffle: script('shuffle', ({ config }) => config.shuffle),
  train_on_inputs: script('train_on_inputs', ({ config }) => config.train_on_inputs),
  chat_template: script('chat_template', ({ config }) => config.chat_template),
  num_train_epochs: script('num_train_epochs', ({ settings }) => settings.num_train_epochs),
  max_steps: script('max_steps', ({ config }) => config.max_steps),
  eval_steps: script('eval_steps', ({ config }) => config.eval_steps),
  load_best_model_at_end: script('load_best_model_at_end', ({ config }) => config.load_best_model_at_end),
  early_stopping_patience: script('early_stopping_patience', ({ config }) => config.early_stopping_patience),
  save_steps: script('save_steps', ({ config }) => config.save_steps),
  save_total_limit: script('save_total_limit', ({ config }) => config.save_total_limit),
} as const satisfies Partial<SettingRules>;

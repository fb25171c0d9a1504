/** The config as a run keeps it, with paths that hold wherever the run is resumed from, and the keys that a resumed run may not change. */

import { existsSync } from 'node:fs';
import { resolve as absolutePath } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import type { RunConfig } from '../run/run-config.ts';

export function storedConfig(config: RunConfig, runDirectory: string): RunConfig {
  const { model, dataset, eval_dataset: evaluation, chat_template: template } = config;
  return {
    ...config,
    model: existsSync(model) ? absolutePath(model) : model,
    dataset: absolutePath(resolveDatasetPath(dataset)),
    output_dir: absolutePath(runDirectory),
    ...(evaluation === undefined ? {} : { eval_dataset: absolutePath(resolveDatasetPath(evaluation)) }),
    ...(template === undefined || template === 'chatml' ? {} : { chat_template: absolutePath(template) }),
  };
}

/** What decides which numbers are computed, on any engine. */
export const FIXED_KEYS = [
  'model', 'dataset', 'eval_fraction', 'output_dir', 'max_length', 'overlong', 'packing', 'shuffle', 'train_on_inputs', 'chat_template', 'train_batch_size',
  'train_batch_tokens', 'freeze', 'optim', 'seed', 'bf16', 'fp16', 'bf16_weights',
] as const satisfies readonly (keyof RunConfig)[];

/** Throws E_CONFIG, naming the first of `keys` that `changes` sets to another value. */
export function refuseChanges(before: Partial<RunConfig>, changes: Partial<RunConfig>, keys: readonly (keyof RunConfig)[]): void {
  const fixed = keys.find((key) => changes[key] !== undefined && JSON.stringify(changes[key]) !== JSON.stringify(before[key]));
  if (fixed === undefined) return;
  throw new FulltuneError('E_CONFIG', `${fixed} cannot change when a run is resumed: it decides what is trained`, {
    where: fixed, remedy: 'Start a new run: its --model may be a checkpoint or the model/ of this one.',
  });
}

/**
 * Gradient accumulation: the rows of an update go through in micro-batches. Every token's loss is weighted by 1 / (trained tokens of
 * the whole update), never a mean of means, so the micro-batch does not change the training.
 */

import { FulltuneError } from '../base/errors.ts';
import { JOINED_BELOW } from '../ops/token-blocks.ts';
import type { BatchChoice } from '../run/training-plan.ts';
import type { Settings } from '../run/run-config.ts';
import type { Technique } from './technique.ts';

const DEFAULT_ROWS = 8;

/** Rows per update as the settings say: their number, their tokens, or the product of the two micro-batch keys. */
export function rowsPerUpdate(settings: Settings, maxLength: number): number {
  if (settings.train_batch_size !== undefined) return settings.train_batch_size;
  if (settings.train_batch_tokens !== undefined) {
    if (settings.train_batch_tokens < maxLength) {
      throw new FulltuneError('E_CONFIG', `train_batch_tokens ${settings.train_batch_tokens} is less than one row of ${maxLength} tokens`, {
        where: 'train_batch_tokens', remedy: `Use at least ${maxLength}, or a shorter --max-length.`,
      });
    }
    return Math.floor(settings.train_batch_tokens / maxLength);
  }
  if (settings.per_device_train_batch_size !== undefined && settings.gradient_accumulation_steps !== undefined) {
    return settings.per_device_train_batch_size * settings.gradient_accumulation_steps;
  }
  return DEFAULT_ROWS;
}

function choice(rows: number, microBatchSize: number): BatchChoice {
  return { rowsPerUpdate: rows, microBatchSize, accumulationSteps: Math.ceil(rows / microBatchSize) };
}

export const accumulation: Technique<BatchChoice> = {
  name: 'gradient accumulation',
  field: 'batch',
  keys: ['train_batch_size', 'train_batch_tokens', 'per_device_train_batch_size', 'gradient_accumulation_steps'],
  of: (plan) => plan.batch,
  into: (plan, value) => ({ ...plan, batch: value }),
  values: ({ settings, maxLength, rowsPerEpoch }) => {
    const rows = rowsPerUpdate(settings, maxLength);
    if (settings.per_device_train_batch_size !== undefined) return [choice(rows, Math.min(rows, settings.per_device_train_batch_size))];
    if (settings.gradient_accumulation_steps !== undefined) return [choice(rows, Math.ceil(rows / settings.gradient_accumulation_steps))];
    const divisors = Array.from({ length: rows }, (_, i) => rows - i).filter((size) => rows % size === 0);
    // An update never mixes epochs: more rows at a time than an epoch has would only be filling.
    const sizes = rowsPerEpoch < rows ? [rowsPerEpoch, ...divisors.filter((size) => size < rowsPerEpoch)] : divisors;
    return sizes.map((size) => choice(rows, size));
  },
  // Rows shorter than that are joined before sums over tokens are cut, so how many a micro-batch holds shifts the cuts.
  numerics: (_value, { packing }) => (packing.rowLengths.every((length) => length >= JOINED_BELOW) ? 'bitwise' : 'reordered'),
  conflict: () => undefined,
  explain: (value) => ({
    value: `${value.rowsPerUpdate === 1 ? '1 row' : `${value.rowsPerUpdate} rows`} per update = micro-batch ${value.microBatchSize} × accumulation ${value.accumulationSteps}`,
    brief: value.accumulationSteps === 1 ? `micro-batch ${value.microBatchSize}` : `micro-batch ${value.microBatchSize} × ${value.accumulationSteps}`,
    saves: 'activations and logits of the rows that are not in the micro-batch',
    costs: value.accumulationSteps === 1 ? 'nothing' : 'gradients live through the whole update',
  }),
  action: { stage: 'batch', shape: ({ microBatchSize }, batch) => ({ ...batch, microBatchSize }) },
};

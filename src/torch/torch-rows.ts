/** Rows of one update over all ranks. On several devices, the two keys of the micro-batch count per device, as in transformers. */

import { FulltuneError } from '../base/errors.ts';
import { DEFAULT_ROWS_PER_UPDATE } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';

export interface RowsPerUpdate {
  readonly rowsPerUpdate: number;
  readonly microBatchSize?: number;
  readonly accumulationSteps?: number;
}

type BatchKeys = Pick<RunConfig, 'train_batch_size' | 'train_batch_tokens' | 'per_device_train_batch_size' | 'gradient_accumulation_steps'>;

/** Throws E_CONFIG where the keys contradict each other on so many ranks. */
export function rowsOf(config: BatchKeys, worldSize: number, rowLength: number): RowsPerUpdate {
  const { train_batch_size: rows, train_batch_tokens: tokens, per_device_train_batch_size: micro, gradient_accumulation_steps: steps } = config;
  const asked = rows ?? (tokens === undefined ? undefined : Math.max(1, Math.floor(tokens / rowLength)));
  const ranks = worldSize === 1 ? '' : ` × ${worldSize} devices`;
  if (micro !== undefined && steps !== undefined) {
    const product = micro * steps * worldSize;
    if (asked !== undefined && asked !== product) {
      throw wrong(`per_device_train_batch_size ${micro} × gradient_accumulation_steps ${steps}${ranks} = ${product} rows per update, but ${rows === undefined ? `train_batch_tokens makes ${asked}` : `train_batch_size is ${asked}`}`, `Set train_batch_size to ${product}, or leave one of the three out.`);
    }
    return { rowsPerUpdate: product, microBatchSize: micro, accumulationSteps: steps };
  }
  if (micro !== undefined) {
    if (asked !== undefined && micro * worldSize > asked && micro > Math.ceil(asked / worldSize)) {
      throw wrong(`per_device_train_batch_size ${micro}${ranks} is more than the ${asked} rows of an update`, `A micro-batch is a part of them: at most ${Math.ceil(asked / worldSize)} per device.`);
    }
    return { rowsPerUpdate: asked ?? Math.max(DEFAULT_ROWS_PER_UPDATE, micro * worldSize), microBatchSize: micro };
  }
  if (steps !== undefined) {
    const perRank = asked === undefined ? undefined : Math.ceil(asked / worldSize);
    if (perRank !== undefined && Math.ceil(perRank / Math.ceil(perRank / steps)) !== steps) {
      throw wrong(`${asked} rows per update cannot be cut into ${steps} micro-batches of one size${ranks === '' ? '' : ` on each of ${worldSize} devices`}`, `Set train_batch_size to ${steps * worldSize * Math.ceil(perRank / steps)}, or leave gradient_accumulation_steps out.`);
    }
    return { rowsPerUpdate: asked ?? steps * worldSize * Math.ceil(DEFAULT_ROWS_PER_UPDATE / (steps * worldSize)), accumulationSteps: steps };
  }
  return { rowsPerUpdate: asked ?? DEFAULT_ROWS_PER_UPDATE };
}

function wrong(message: string, remedy: string): FulltuneError {
  return new FulltuneError('E_CONFIG', message, { where: 'train_batch_size, per_device_train_batch_size, gradient_accumulation_steps', remedy });
}

/** Starts step.py in one of its settings. */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startWorker } from '../../support/worker.js';

export const SETTINGS = { eager: 'eager', fused: 'eager, fused AdamW', compile: 'torch.compile, fused AdamW' };

/** README.md says how these were found. */
const ENVIRONMENT = {};

/**
 * @param {{ readonly python: string, readonly setting: keyof typeof SETTINGS, readonly shape: import('../../support/step-shapes.js').StepShape, readonly threads: number }} request
 */
export async function startPyTorch({ python, setting, shape: { rows, length, config }, threads }) {
  if (!existsSync(python)) throw new Error(`there is no Python at ${python}: run bench/peers/pytorch/setup, or give --python PATH`);
  return startWorker([python, fileURLToPath(new URL('step.py', import.meta.url)), JSON.stringify({ setting, rows, length, config, threads })], { env: { ...ENVIRONMENT, OMP_NUM_THREADS: String(threads) } });
}

/** Starts step.js. */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startWorker } from '../../support/worker.js';

/**
 * @param {import('../../support/step-shapes.js').StepShape} shape
 * @param {number} threads
 */
export async function startJaxJs({ rows, length, config }, threads) {
  if (!existsSync(new URL('node_modules/@jax-js/jax', import.meta.url))) throw new Error('jax-js is not installed: run bench/peers/jax-js/setup');
  return startWorker([process.execPath, fileURLToPath(new URL('step.js', import.meta.url)), JSON.stringify({ rows, length, config, threads })]);
}

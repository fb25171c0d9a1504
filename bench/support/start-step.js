/** Starts workers/step.js: training steps of a build in a process of their own. */

import { fileURLToPath } from 'node:url';
import { startWorker } from './worker.js';

const worker = fileURLToPath(new URL('../workers/step.js', import.meta.url));

/**
 * @param {import('./revision.js').Build} build
 * @param {{ readonly shape: Pick<import('./step-shapes.js').StepShape, 'rows' | 'length' | 'config'>, readonly threads: number, readonly changes: object }} request
 */
export function startStep({ dist, env }, request) {
  return startWorker([process.execPath, worker, JSON.stringify({ dist, ...request })], { env });
}

/** Builds sgemm.c against the installed OpenBLAS and starts it, with no variable set that would choose its kernels or its blocking. */

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startWorker } from '../../support/worker.js';

const source = fileURLToPath(new URL('sgemm.c', import.meta.url));
const folder = fileURLToPath(new URL('../../../build/bench/', import.meta.url));

/** @param {number} threads */
export async function startOpenBlas(threads) {
  mkdirSync(folder, { recursive: true });
  const program = `${folder}openblas-sgemm`;
  execFileSync(process.env['CC'] ?? 'cc', ['-O2', '-Wall', '-Wextra', source, '-o', program, '-lopenblas'], { stdio: 'inherit' });
  return startWorker([program, String(threads)], { env: { OPENBLAS_CORETYPE: undefined, OPENBLAS_L2_SIZE: undefined, OPENBLAS_NUM_THREADS: String(threads), OMP_NUM_THREADS: String(threads) } });
}

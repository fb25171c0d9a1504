/** Entry of the child process: one job comes in, progress and the outcome go out, and the process ends. */

import { FulltuneError } from '../base/errors.ts';
import { tokeniseDataset } from './tokenise-dataset.ts';
import type { TokeniseJob } from './tokenise-dataset.ts';
import type { WorkerMessage } from './tokenise-process.ts';

const send = (message: WorkerMessage): Promise<void> =>
  new Promise((resolve) => { process.send?.(message, undefined, undefined, () => { resolve(); }); });

process.once('disconnect', () => { process.exit(1); });
process.once('message', (job: TokeniseJob) => { void run(job); });

async function run(job: TokeniseJob): Promise<void> {
  try {
    await tokeniseDataset(job, { onProgress: (progress) => { void send({ kind: 'progress', progress }); } });
    await send({ kind: 'done' });
  } catch (error) {
    await send(
      error instanceof FulltuneError
        ? { kind: 'refused', code: error.code, message: error.message, where: error.where ?? null, remedy: error.remedy ?? null }
        : { kind: 'failed', stack: error instanceof Error ? (error.stack ?? error.message) : String(error) },
    );
  }
  process.removeAllListeners('disconnect');
  process.disconnect();
}

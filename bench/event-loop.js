/**
 * Is the event loop free while a model trains? The delay of a 1 ms timer during real steps of SmolLM2's shape with 4 layers, checkpoints
 * included, and the time from an abort to the end of the computation.
 * Goals: p99 at most 20 ms, cancel at most 50 ms.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { initModel, train } from '../dist/index.js';
import { record } from './support/report.js';
import { SMOLLM2 } from './support/step-shapes.js';

export const title = 'delay of a timer while a model trains, and time to cancel';

export async function run() {
  const folder = mkdtempSync(join(tmpdir(), 'fulltune-bench-'));
  try {
    const like = join(folder, 'like');
    mkdirSync(like);
    writeFileSync(join(like, 'config.json'), JSON.stringify({ ...SMOLLM2, num_hidden_layers: 4, vocab_size: 16384, max_position_embeddings: 512, torch_dtype: 'float32' }));
    const model = join(folder, 'model');
    await initModel({ directory: model, like });
    const dataset = join(folder, 'rows.jsonl');
    const row = (seed) => JSON.stringify({ input_ids: Array.from({ length: 512 }, (_, i) => (i * 7919 + seed * 104729) % 16384) });
    writeFileSync(dataset, Array.from({ length: 64 }, (_, i) => `${row(i)}\n`).join(''));

    const delay = monitorEventLoopDelay({ resolution: 1 });
    const stop = new AbortController();
    const run = train({ model, dataset, output_dir: join(folder, 'run'), train_batch_size: 4, max_steps: 20, save_steps: 5 }, { signal: stop.signal });
    let aborted = 0;
    for await (const event of run) {
      if (event.kind === 'start') delay.enable();
      if (event.kind === 'step' && event.step === 12) {
        delay.disable();
        setTimeout(() => {
          aborted = performance.now();
          stop.abort();
        }, 200);
      }
      if (event.kind === 'checkpoint' && aborted > 0) {
        const cancelMs = performance.now() - aborted - event.saveMs;
        console.log(JSON.stringify(record('event-loop', {
          p50Ms: delay.percentile(50) / 1e6, p99Ms: delay.percentile(99) / 1e6, maxMs: delay.max / 1e6, cancelMs: Math.round(cancelMs),
        })));
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

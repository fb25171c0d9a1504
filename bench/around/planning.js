/** How long compiling and planning take, for SmolLM2's shape with 30 and with 80 layers. Goals for a plan: 3 s and 10 s. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plan } from '../../dist/index.js';
import { run as compileBench } from '../compile.js';
import { timeLine } from '../support/lines.js';
import { SMOLLM2 } from '../support/step-shapes.js';

/** Of what the run needs at least: one that is tight, one that takes everything. */
const BUDGETS = { tight: 1.1, plenty: 10 };

/** @param {import('../support/options.js').Options} options */
export async function planning(options) {
  await compileBench(options);
  const scratch = mkdtempSync(join(tmpdir(), 'fulltune-planning-'));
  const lines = [];
  try {
    for (const [layers, goal] of [[30, 3000], [80, 10_000]]) {
      const model = join(scratch, String(layers));
      mkdirSync(model);
      writeFileSync(join(model, 'config.json'), JSON.stringify({ ...SMOLLM2, num_hidden_layers: layers }));
      const least = (await plan({ model, max_length: 512, memory: '1MiB' })).memory.forecastBytes;
      for (const [name, share] of Object.entries(BUDGETS)) {
        const times = [];
        for (let round = 0; round < options.rounds; round++) {
          const started = performance.now();
          await plan({ model, max_length: 512, memory: String(Math.round(least * share)) });
          times.push(performance.now() - started);
        }
        lines.push(timeLine(`plan, ${layers} layers, ${name} memory`, times, goal));
      }
    }
    return lines;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

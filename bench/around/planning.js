/**
 * How long compiling and planning take: SmolLM2's shape with 30 and with 80 layers, and 80 layers of Llama 3.1 70B's width with the frontier that
 * `plan` shows, also where every technique is allowed and where nothing fits. Goals for a plan: 3 s with 30 layers and 10 s with 80.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plan } from '../../dist/index.js';
import { ALLOWABLE } from '../../dist/run/run-config.js';
import { run as compileBench } from '../compile.js';
import { timeLine } from '../support/lines.js';
import { LLAMA_70B, SMOLLM2 } from '../support/step-shapes.js';

/** Of what the run needs at least: one that is tight, one that takes everything. */
const BUDGETS = { tight: 1.1, plenty: 10 };

/** Budgets for the wide model, with what is asked for besides. */
const WIDE = {
  '600 GiB': { memory: '600GiB' },
  '300 GiB, all allowed': { memory: '300GiB', allow: [...ALLOWABLE] },
  '100 GiB, too little': { memory: '100GiB' },
};

/** @param {import('../support/options.js').Options} options */
export async function planning(options) {
  await compileBench(options);
  const scratch = mkdtempSync(join(tmpdir(), 'fulltune-planning-'));
  const lines = [];
  try {
    const modelOf = (name, config) => {
      const model = join(scratch, name);
      mkdirSync(model);
      writeFileSync(join(model, 'config.json'), JSON.stringify(config));
      return model;
    };
    const measure = async (title, config, goal) => {
      const times = [];
      for (let round = 0; round < options.rounds; round++) {
        const started = performance.now();
        await plan(config);
        times.push(performance.now() - started);
      }
      lines.push(timeLine(title, times, goal));
    };
    for (const [layers, goal] of [[30, 3000], [80, 10_000]]) {
      const model = modelOf(String(layers), { ...SMOLLM2, num_hidden_layers: layers });
      const least = (await plan({ model, max_length: 512, memory: '1MiB' })).memory.forecastBytes;
      for (const [name, share] of Object.entries(BUDGETS)) {
        await measure(`plan, ${layers} layers, ${name} memory`, { model, max_length: 512, memory: String(Math.round(least * share)) }, goal);
      }
    }
    const wide = modelOf('wide', LLAMA_70B);
    for (const [name, asked] of Object.entries(WIDE)) await measure(`plan, 80 wide layers, ${name}`, { model: wide, max_length: 2048, train_batch_size: 8, ...asked }, 10_000);
    return lines;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

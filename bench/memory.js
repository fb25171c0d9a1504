/**
 * Memory and time of whole runs, predicted and measured, each in a process of its own. Words: a mode, and part of a label.
 *
 *     ladder     SmolLM2-135M's shape, 8 rows of 512 tokens: technique after technique
 *     sweep      the same, --memory in 12 steps from the smallest feasible to plenty: the same bits in all
 *     1b         Llama-3.2-1B's shape: 8-bit AdamW, Adafactor, AdamW with its state in a file
 *     7b         Llama-2-7B's shape in one process
 *
 * Models are made in the folder that BENCH_SCRATCH names, else in the system's. BENCH_UPDATES: updates of each run of ladder and sweep (3), of
 * which the first is left out of the timing.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatBytes, plan as planFor } from '../dist/index.js';
import { benchModel, benchRows } from './support/bench-model.js';
import { LADDER } from './support/ladder.js';
import { record } from './support/report.js';

export const title = 'memory and time of whole runs, predicted and measured: ladder, sweep, 1b, 7b';

const scratch = process.env['BENCH_SCRATCH'] ?? join(tmpdir(), 'fulltune-bench');
const child = fileURLToPath(new URL('workers/run.js', import.meta.url));
const UPDATES = Number(process.env['BENCH_UPDATES'] ?? 3);

/** @param {import('./support/options.js').Options} options */
export async function run({ words: [mode = 'ladder', only] }) {
  mkdirSync(scratch, { recursive: true });
  const bench = MODES[mode];
  if (bench === undefined) throw new RangeError(`'${mode}' is none of ${Object.keys(MODES).join(', ')}`);
  await bench((label, config, options = {}) => (only === undefined || label.includes(only) ? runOnce(mode, label, config, options) : undefined));
}

/** One run; its line of results, or undefined when it failed. */
function runOnce(mode, label, config, options) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [child], {
    input: JSON.stringify({ config: { ...config, output_dir: join(scratch, `run-${process.pid}`) }, ...options }), encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['pipe', 'pipe', process.env['BENCH_VERBOSE'] === undefined ? 'pipe' : 'inherit'],
  });
  if (status !== 0) {
    console.log(`${label}: failed\n${stderr ?? ''}`);
    return undefined;
  }
  const result = JSON.parse(stdout.trim().split('\n').at(-1));
  const tokens = options.tokens;
  const line = record(`memory-${mode}`, { label, tokensPerSecond: tokens / (result.medianStepMs / 1000), ...result });
  const off = (result.peakBytes / result.plannedBytes - 1) * 100;
  const slow = result.predictedStepMs === null ? '' : `, predicted ${(result.predictedStepMs / 1000).toFixed(2)} s (${((result.medianStepMs / result.predictedStepMs - 1) * 100).toFixed(1)} %)`;
  console.log(`${label.padEnd(44)} planned ${formatBytes(result.plannedBytes).padStart(9)}, measured ${formatBytes(result.peakBytes).padStart(9)} (${off.toFixed(1)} %), ` +
    `${(result.medianStepMs / 1000).toFixed(2)} s, ${Math.round(line.tokensPerSecond)} tokens/s${slow}, loss ${result.losses.map((loss) => loss.toFixed(4)).join(' ')}, weights ${result.weights}`);
  return line;
}

const base = async (name, { rows, length, updates, dtype = 'float32', repeat }) => ({
  model: await benchModel(scratch, name, dtype), dataset: benchRows(scratch, { name, rows: rows * updates, length, ...(repeat === undefined ? {} : { repeat }) }),
  train_batch_size: rows, max_length: length, max_steps: updates, shuffle: false, learning_rate: 1e-4, lr_scheduler_type: 'constant', save_total_limit: 1,
});

const MODES = {
  async ladder(run) {
    const config = await base('smollm2-135m', { rows: 8, length: 512, updates: UPDATES });
    const { plan } = await planFor({ ...config, per_device_train_batch_size: 8, memory: '100GiB' });
    const lines = [];
    for (const [label, change] of LADDER(plan)) {
      lines.push(run(label, config, { plan: change, tokens: 4096 }));
    }
    const done = lines.filter((line) => line !== undefined);
    for (const line of done) console.log(`${line.label.padEnd(44)} ${(line.peakBytes / done[0].peakBytes).toFixed(2)} of the memory, ${(line.medianStepMs / done[0].medianStepMs).toFixed(3)} of the time`);
  },
  async sweep(run) {
    const config = await base('smollm2-135m', { rows: 8, length: 512, updates: UPDATES });
    const least = (await planFor({ ...config, memory: '1MiB' })).memory.forecastBytes;
    const most = (await planFor({ ...config, memory: '100GiB' })).memory.forecastBytes;
    const lines = [];
    for (let i = 0; i < 12; i++) {
      const budget = Math.ceil(least * 1.002 * (most / least) ** (i / 11));
      lines.push({ budget, ...run(`--memory ${formatBytes(budget)}`, { ...config, memory: String(budget) }, { tokens: 4096 }) });
    }
    const same = new Set(lines.map(({ losses, weights }) => JSON.stringify([losses, weights])));
    console.log(`inside its budget: ${lines.filter(({ budget, peakBytes }) => peakBytes <= budget).length} of ${lines.length}; different losses or weights: ${same.size - 1}`);
    console.log(`predicted time falls with memory: ${lines.slice(1).every(({ predictedStepMs }, i) => predictedStepMs <= lines[i].predictedStepMs)}`);
  },
  async '1b'(run) {
    const config = await base('llama-3.2-1b', { rows: 1, length: 512, updates: 3, dtype: 'bfloat16', repeat: 1 });
    const runs = [
      ['8-bit AdamW, bf16 weights, 6 GiB', { optim: 'adamw_8bit', optim_8bit_embeddings: true, bf16_weights: true, memory: '6GiB' }],
      ['Adafactor, bf16 weights, 4 GiB', { optim: 'adafactor', bf16_weights: true, memory: '4GiB' }],
      ['f32 AdamW, state in a file, 6.5 GiB', { offload_optimizer_state: true, memory: '6.5GiB' }],
    ];
    for (const [label, changes] of runs) run(label, { ...config, ...changes }, { tokens: 512, hashWeights: false });
  },
  async '7b'(run) {
    const config = await base('llama-2-7b', { rows: 1, length: 128, updates: 2, dtype: 'bfloat16', repeat: 1 });
    run('Adafactor, bf16 weights, 14.5 GiB', { ...config, optim: 'adafactor', bf16_weights: true, memory: '14.5GiB', learning_rate: 1e-3 }, { tokens: 128, hashWeights: false });
  },
};

/** One training run in a process of its own, so that its peak is its own: settings (and perhaps a plan) in as JSON, one line of JSON out. */

import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { train } from '../../dist/index.js';
import { highWaterBytes } from '../support/answers.js';

const { config, plan, hashWeights = true } = JSON.parse(readFileSync(0, 'utf8'));
const started = performance.now();
const run = train(config, plan === undefined ? {} : { plan });
const losses = [];
const stepMs = [];
let start;
let firstStepAt;
for await (const event of run) {
  if (event.kind === 'start') start = event;
  if (event.kind !== 'step') continue;
  firstStepAt ??= (performance.now() - started) / 1000;
  losses.push(event.loss);
  stepMs.push(event.stepMs);
  if (process.env['BENCH_VERBOSE'] !== undefined) console.error(`step ${event.step}: loss ${event.loss}, ${(event.stepMs / 1000).toFixed(1)} s`);
}
const result = await run.result;
const measured = stepMs.length > 1 ? stepMs.slice(1) : stepMs;
measured.sort((a, b) => a - b);
console.log(JSON.stringify({
  plannedBytes: result.plannedBytes,
  peakBytes: highWaterBytes() ?? result.peakResidentBytes,
  arenaBytes: start.memory.arenaBytes,
  predictedStepMs: result.predictedStepMs ?? null,
  medianStepMs: measured[Math.floor(measured.length / 2)],
  firstStepSeconds: firstStepAt,
  losses,
  weights: hashWeights && result.modelPath !== null ? await hashOf(result.modelPath) : null,
  techniques: start.techniques,
}));
rmSync(config.output_dir, { recursive: true, force: true });

async function hashOf(folder) {
  const hash = createHash('sha256');
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.safetensors')).sort()) {
    for await (const piece of createReadStream(join(folder, name))) hash.update(piece);
  }
  return hash.digest('hex').slice(0, 16);
}

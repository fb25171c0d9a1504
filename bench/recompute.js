/**
 * What recompute costs: steps of SmolLM2-135M's shape, 1 row of 512 tokens, with more and more made again, in turns in one process.
 *
 *     npm run build && node bench/recompute.js        goals: pointwise values 2 %, half the bytes 8 %, block inputs only 24 % more time
 */

import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { compile } from '../dist/compile/compile.js';
import { createCpuDevice } from '../dist/devices/cpu/cpu-device.js';
import { parseModelConfig } from '../dist/models/model-config.js';
import { plainPlan } from '../dist/run/training-plan.js';
import { TrainingState } from '../dist/train/training-state.js';
import { SHAPES } from './support/bench-model.js';
import { LADDER } from './support/ladder.js';

const ROUNDS = 7;
const LENGTH = 512;
const model = parseModelConfig(SHAPES['smollm2-135m'], 'bench');
const device = createCpuDevice();
const tokens = Int32Array.from({ length: LENGTH }, (_, i) => (i * 7919) % 49152);
const inputs = {
  ids: tokens, labels: Int32Array.from(tokens, (id) => (id * 31) % 49152), positions: Int32Array.from(tokens, (_, i) => i), documentStart: new Int32Array(LENGTH),
  lossWeight: 1 / LENGTH, learningRate: 1e-6, step: 1,
};

const variants = [];
for (const [label, plan] of LADDER(plainPlan({ rowLength: LENGTH })).slice(1, 5)) {
  const run = compile({ model, plan, device, purpose: 'train' });
  const state = await TrainingState.create(device, run.memory, run.constants);
  for (const { value, offset } of state.blocks('parameter')) {
    const count = value.shape.reduce((product, size) => product * size, 1);
    state.arena.write(offset, new Uint8Array(Float32Array.from({ length: count }, (_, i) => (value.shape.length === 1 ? 1 : Math.sin(i * 12.9898) * 0.03)).buffer));
  }
  variants.push({ label: label === '+ chunked loss' ? 'everything kept' : label, state, steps: run.steps.step, arenaBytes: run.memory.arenaBytes, times: [] });
}
for (let round = -1; round < ROUNDS; round++) {
  for (const { state, steps, times } of variants) {
    state.setInputs(steps.compute, inputs);
    const started = performance.now();
    await state.program(steps.compute).run();
    await state.program(steps.commit).run();
    if (round >= 0) times.push(performance.now() - started);
  }
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
const results = new URL('results/', import.meta.url);
mkdirSync(results, { recursive: true });
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const [first] = variants;
for (const { label, times, arenaBytes, state } of variants) {
  // Each round against the same round of the first: what slows the whole machine cancels.
  const ratio = median(times.map((ms, round) => ms / first.times[round]));
  const line = { bench: 'recompute', label, commit, device: device.description, medianMs: median(times), bestMs: Math.min(...times), ratio, bestRatio: Math.min(...times) / Math.min(...first.times), arenaBytes };
  appendFileSync(new URL('recompute.jsonl', results), `${JSON.stringify(line)}\n`);
  console.log(`${label.padEnd(34)} median ${line.medianMs.toFixed(0)} ms, best ${line.bestMs.toFixed(0)} ms, ${((ratio - 1) * 100).toFixed(1)} % more by medians of ratios, ${((line.bestRatio - 1) * 100).toFixed(1)} % by the best, arena ${(arenaBytes / 2 ** 30).toFixed(2)} GiB`);
  state.free();
}

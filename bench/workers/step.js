/**
 * Whole training steps on random weights in a process of its own. `node step.js JSON`: { dist, shape, threads, changes }, the last of them of the training plan. Each question is one
 * step; the answer { ms, outsideMs, byOp, peakBytes }: the wall clock, what of it no instruction accounts for, milliseconds by op, and the most
 * that this process has held.
 */

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { answerQuestions, highWaterBytes } from '../support/answers.js';

const { dist, shape: { rows, length, config }, threads, changes } = JSON.parse(process.argv[2]);
const load = (/** @type {string} */ path) => import(pathToFileURL(join(dist, path)).href);
const { compile } = await load('compile/compile.js');
const { createCpuDevice } = await load('devices/cpu/cpu-device.js');
const { parseModelConfig } = await load('models/model-config.js');
const { plainPlan } = await load('run/training-plan.js');
const { keepHeapSmall } = await load('train/small-heap.js');
const { TrainingState } = await load('train/training-state.js');

const device = createCpuDevice({ threads });
const { memory, constants, steps, compileMs } = compiled();
await keepHeapSmall();
/** Not a power of two long, so that rows differ. */
const noise = Float32Array.from({ length: 250007 }, (_, i) => Math.sin(i * 12.9898) * 0.03);
const state = await TrainingState.create(device, memory, constants);
for (const block of state.blocks('parameter')) fillParameter(block);
const tokens = rows * length;
const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % config.vocab_size);
const inputs = {
  ids, labels: Int32Array.from(ids, (id) => (id * 31) % config.vocab_size), positions: Int32Array.from(ids, (_, i) => i % length), documentStart: new Int32Array(tokens),
  lossWeight: 1 / tokens, lossScale: 1, learningRate: 1e-5, step: 1,
};
const programs = [steps.step.compute, steps.step.commit];

await answerQuestions({ device: device.description, arenaBytes: memory.arenaBytes, compileMs }, async () => {
  const started = performance.now();
  state.setInputs(steps.step.compute, inputs);
  for (const program of programs) await state.program(program).run();
  const ms = performance.now() - started;
  inputs.step++;
  const byOp = {};
  let inside = 0;
  for (const program of programs) {
    state.program(program).timings().forEach((opMs, index) => {
      const { op } = program.instructions[index];
      byOp[op] = (byOp[op] ?? 0) + opMs;
      inside += opMs;
    });
  }
  return { ms, outsideMs: ms - inside, byOp, peakBytes: highWaterBytes() };
});

/** Without the graphs, which nothing reads any more. */
function compiled() {
  const model = parseModelConfig(config, 'bench');
  const plan = { ...plainPlan({ rowLength: length }), batch: { rowsPerUpdate: rows, microBatchSize: rows, accumulationSteps: 1 }, ...changes };
  const started = performance.now();
  const run = compile({ model, plan, device, purpose: 'train' });
  return { memory: { ...run.memory, programs: [] }, constants: run.constants, steps: run.steps, compileMs: performance.now() - started };
}

/** Small random numbers, 1 for norms; the same piece over and over, so that the heap stays small and this is quick. */
function fillParameter({ value, offset }) {
  const count = value.shape.reduce((product, size) => product * size, 1);
  const values = value.shape.length === 1 ? new Float32Array(count).fill(1) : noise;
  for (let first = 0; first < count; first += values.length) {
    const some = Math.min(values.length, count - first);
    state.arena.write(offset + 4 * first, new Uint8Array(values.buffer, 0, 4 * some));
  }
}

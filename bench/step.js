/**
 * One training step (forward, backward, AdamW) on random weights, by op: where the time goes and how near it is to the multiply-add limit
 * measured in the same run.
 *
 *     npm run build && node bench/step.js [a|b] [blocks]    a: 10 M parameters, 4 × 256 tokens; b: SmolLM2-135M's shape, 1 × 512;
 *                                                           blocks: token blocks per slice of a chunked loss, else logits whole
 */

import { compile } from '../dist/compile/compile.js';
import { createCpuDevice } from '../dist/devices/cpu/cpu-device.js';
import { parseModelConfig } from '../dist/models/model-config.js';
import { plainPlan } from '../dist/run/training-plan.js';
import { opOf } from '../dist/ops/index.js';
import { TrainingState } from '../dist/train/training-state.js';

const SHAPES = {
  a: { rows: 4, length: 256, config: { hidden_size: 256, intermediate_size: 768, num_hidden_layers: 8, num_attention_heads: 8, num_key_value_heads: 8, vocab_size: 4096 } },
  b: { rows: 1, length: 512, config: { hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3, vocab_size: 49152 } },
};
const RUNS = 5;

const name = process.argv[2] === 'a' ? 'a' : 'b';
const { rows, length, config } = SHAPES[name];
const loss = process.argv[3] === undefined ? { kind: 'whole' } : { kind: 'chunked', blocks: Number(process.argv[3]) };
const model = parseModelConfig({ architectures: ['LlamaForCausalLM'], model_type: 'llama', tie_word_embeddings: true, max_position_embeddings: 2048, ...config }, 'bench');
const device = createCpuDevice();
const plan = {
  ...plainPlan({ rowLength: length }), loss, batch: { rowsPerUpdate: rows, microBatchSize: rows, accumulationSteps: 1 },
};
const run = compile({ model, plan, device, purpose: 'train' });
const state = await TrainingState.create(device, run.memory, run.constants);
for (const { value, offset } of state.blocks('parameter')) {
  const count = value.shape.reduce((product, size) => product * size, 1);
  const values = Float32Array.from({ length: count }, (_, i) => (value.shape.length === 1 ? 1 : Math.sin(i * 12.9898) * 0.03));
  state.arena.write(offset, new Uint8Array(values.buffer));
}
const tokens = rows * length;
const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % config.vocab_size);
const inputs = {
  ids, labels: Int32Array.from(ids, (id) => (id * 31) % config.vocab_size), positions: Int32Array.from(ids, (_, i) => i % length), documentStart: new Int32Array(tokens),
  lossWeight: 1 / tokens, learningRate: 1e-5, step: 1,
};
const { compute, commit } = run.steps.step;
const times = [];
const byOp = new Map();
let limit = 0;
for (let index = -2; index < RUNS; index++) {
  limit = Math.max(limit, await device.measurePeak());
  state.setInputs(compute, inputs);
  let stepMs = 0;
  for (const program of [compute, commit]) {
    const started = performance.now();
    const loaded = state.program(program);
    await loaded.run();
    stepMs += performance.now() - started;
    if (index < 0) continue;
    loaded.timings().forEach((ms, i) => {
      const { op } = program.instructions[i];
      byOp.set(op, (byOp.get(op) ?? 0) + ms / RUNS);
    });
  }
  if (index >= 0) times.push(stepMs);
}
times.sort((x, y) => x - y);
const flops = compute.instructions.reduce((sum, { op, inputs: a, outputs: b, attrs }) => sum + (opOf(op).bound === 'compute' ? opOf(op).flops(a, b, attrs) : 0), 0);
const medianMs = times[Math.floor(RUNS / 2)];
console.log(JSON.stringify({
  bench: 'step', shape: name, loss: loss.kind, device: device.description, limitGflops: Math.round(limit / 1e9), medianMs: Math.round(medianMs), bestMs: Math.round(times[0]),
  tokensPerSecond: Math.round((tokens / medianMs) * 1000), mfu: Number((flops / medianMs / 1e-3 / limit).toFixed(3)), arenaBytes: run.memory.arenaBytes,
}));
const total = [...byOp.values()].reduce((sum, ms) => sum + ms, 0);
for (const [op, ms] of [...byOp].sort(([, x], [, y]) => y - x).slice(0, 12)) console.log(`${op.padEnd(26)} ${ms.toFixed(1).padStart(8)} ms  ${((100 * ms) / total).toFixed(1).padStart(5)} %`);
state.free();

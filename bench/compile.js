/**
 * How long it takes to compile a whole training run (graph, backward, update, passes, arena, programs) for SmolLM2's shape, by layers.
 *
 *     npm run build && node bench/compile.js        goal: 80 layers in at most 1 s on 2 cores
 */

import { compile } from '../dist/compile/compile.js';
import { createCpuDevice } from '../dist/devices/cpu/cpu-device.js';
import { parseModelConfig } from '../dist/models/model-config.js';
import { plainPlan } from '../dist/run/training-plan.js';

const device = createCpuDevice({ threads: 2 });
const RUNS = 7;

for (const layers of [30, 80]) {
  const model = parseModelConfig({
    architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 576, intermediate_size: 1536, num_hidden_layers: layers, num_attention_heads: 9,
    num_key_value_heads: 3, vocab_size: 49152, tie_word_embeddings: true, max_position_embeddings: 2048, rms_norm_eps: 1e-5, hidden_act: 'silu',
  }, 'bench');
  for (const microBatchSize of [8, 1]) {
    const plan = {
      ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize, accumulationSteps: 8 / microBatchSize },
    };
    const times = [];
    let memory;
    for (let run = 0; run < RUNS; run++) {
      const started = performance.now();
      ({ memory } = compile({ model, plan, device, purpose: 'train' }));
      times.push(performance.now() - started);
    }
    const [first] = times;
    const later = times.slice(1).sort((a, b) => a - b);
    console.log(JSON.stringify({
      bench: 'compile', layers, microBatchSize, programs: memory.programs.length, firstMs: Math.round(first), medianMs: Math.round(later[Math.floor(later.length / 2)]),
      arenaBytes: memory.arenaBytes, overLowerBound: Number((memory.arenaBytes / memory.peakLiveBytes - 1).toFixed(5)),
    }));
  }
}

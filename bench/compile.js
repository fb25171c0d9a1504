/**
 * How long it takes to compile a whole training run (graph, backward, update, passes, arena, programs) for SmolLM2's shape, by layers.
 * Goal: 80 layers in at most 1 s on 2 cores.
 */

import { compile } from '../dist/compile/compile.js';
import { createCpuDevice } from '../dist/devices/cpu/cpu-device.js';
import { parseModelConfig } from '../dist/models/model-config.js';
import { plainPlan } from '../dist/run/training-plan.js';
import { record, showTable } from './support/report.js';
import { SMOLLM2 } from './support/step-shapes.js';
import { summary } from './support/statistics.js';

export const title = 'time to compile a training run, by layers';

/** @param {import('./support/options.js').Options} options */
export async function run({ rounds }) {
  const device = createCpuDevice({ threads: 2 });
  const lines = [30, 80].flatMap((layers) => {
    const model = parseModelConfig({ ...SMOLLM2, num_hidden_layers: layers }, 'bench');
    return [8, 1].map((microBatchSize) => {
      const plan = { ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize, accumulationSteps: 8 / microBatchSize } };
      const times = [];
      let memory;
      for (let round = -1; round < rounds; round++) {
        const started = performance.now();
        ({ memory } = compile({ model, plan, device, purpose: 'train' }));
        times.push(performance.now() - started);
      }
      const [firstMs, ...later] = times;
      const { median, best, spread } = summary(later);
      return { layers, microBatchSize, programs: memory.programs.length, firstMs, medianMs: median, bestMs: best, spread, arenaBytes: memory.arenaBytes, overLowerBound: memory.arenaBytes / memory.peakLiveBytes - 1 };
    });
  });
  showTable(['compile', 'micro-batch', 'programs', 'first, ms', 'median', 'best', 'arena over the lower bound'], lines.map((line) => [
    `${line.layers} layers`, line.microBatchSize, line.programs, line.firstMs.toFixed(0), line.medianMs.toFixed(0), line.bestMs.toFixed(0), line.overLowerBound.toFixed(5),
  ]));
  record('compile', { device: device.description, lines });
}

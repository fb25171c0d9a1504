/** A plan of either engine as what is exported. The two engines cut work differently; what the embedded one alone does is told in notes. */

import { BLOCK_TOKENS } from '../../ops/token-blocks.ts';
import type { TorchPlan, TorchPrecision, TorchRecompute } from '../../run/torch-plan.ts';
import type { PrecisionChoice, RecomputeChoice, TrainingPlan } from '../../run/training-plan.ts';
import type { ExportPlan } from './exported-run.ts';

export function exportPlanOf(plan: TrainingPlan | TorchPlan): ExportPlan {
  if ('engine' in plan) return { ...plan, offloadedState: false, offloadedActivations: false };
  const { packing, batch, loss, optimizer, update, maxGradNorm, frozen, seed, offload } = plan;
  return {
    version: 1, engine: 'torch', worldSize: 1, ranksPerNode: 1, packing, batch, optimizer, update, maxGradNorm, frozen, seed,
    precision: precisionOf(plan.precision),
    loss: loss.kind === 'whole' ? loss : { kind: 'chunked', tokens: loss.blocks * BLOCK_TOKENS },
    recompute: recomputeOf(plan.recompute),
    sharding: 'none', cpuOffload: false, attention: 'sdpa', compile: false,
    offloadedState: offload.optimizerState, offloadedActivations: offload.activationLayers > 0,
  };
}

function precisionOf({ activations, weights }: PrecisionChoice): TorchPrecision {
  if (weights === 'bf16') return 'bf16-weights';
  return activations;
}

/** The other trainers drop whole layers: as many as the longest list of the plan has. */
function recomputeOf({ dropped }: RecomputeChoice): TorchRecompute {
  const layers = dropped.reduce((most, drop) => Math.max(most, drop.layers), 0);
  return layers === 0 ? { kind: 'none' } : { kind: 'layers', layers };
}

/** `mlp/swiglu of 4 layers`, shortened; undefined when the plan recomputes nothing finer than layers. */
export function finerRecompute(plan: TrainingPlan | TorchPlan): string | undefined {
  if ('engine' in plan || plan.recompute.dropped.length === 0) return undefined;
  const words = plan.recompute.dropped.map(({ value, layers }) => `${value} of ${layers === 1 ? 'the first layer' : `the first ${layers} layers`}`);
  return words.length > 3 ? `${words.slice(0, 3).join(', ')}, and ${words.length - 3} more` : words.join(', ');
}

/** A plan that was given instead of made: followed only where it is one for these settings and data. */

import { FulltuneError } from '../base/errors.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { defaultTorchPlan, type TorchPlanRequest } from './default-plan.ts';

type View = (plan: TorchPlan) => unknown;

/** Keys that decide a part of the plan, and that part as it is compared. */
const DECIDED: Readonly<Partial<Record<keyof RunConfig, View>>> = {
  train_batch_size: ({ batch }) => batch.rowsPerUpdate, train_batch_tokens: ({ batch }) => batch.rowsPerUpdate,
  per_device_train_batch_size: ({ batch }) => batch.microBatchSize, gradient_accumulation_steps: ({ batch }) => batch.accumulationSteps,
  bf16: ({ precision }) => precision, fp16: ({ precision }) => precision, bf16_weights: ({ precision }) => precision,
  gradient_checkpointing: ({ recompute }) => recompute.kind !== 'none', chunked_loss: ({ loss }) => loss.kind, optimizer_in_backward: ({ update }) => update,
  optim: ({ optimizer }) => optimizer, weight_decay: ({ optimizer }) => optimizer.weightDecay,
  nproc_per_node: ({ ranksPerNode }) => ranksPerNode, nnodes: ({ worldSize, ranksPerNode }) => worldSize / ranksPerNode,
  sharding: ({ sharding }) => sharding, cpu_offload: ({ cpuOffload }) => cpuOffload, attn_implementation: ({ attention }) => attention, torch_compile: ({ compile }) => compile,
  max_grad_norm: ({ maxGradNorm }) => maxGradNorm, seed: ({ seed }) => seed,
};

/** Throws E_CONFIG, naming what the plan has and what the settings with these data make. */
export function requireSameRun(plan: TorchPlan, config: RunConfig, request: TorchPlanRequest): void {
  const made = defaultTorchPlan({ ...request, worldSize: plan.worldSize, ranksPerNode: plan.ranksPerNode });
  const nodes = plan.worldSize / plan.ranksPerNode;
  const wanted = { ...made, ranksPerNode: config.nproc_per_node ?? plan.ranksPerNode, worldSize: (config.nproc_per_node ?? plan.ranksPerNode) * (config.nnodes ?? nodes) };
  const views: readonly (readonly [string, View])[] = [
    ['packing', ({ packing }) => packing], ['frozen parameters', ({ frozen }) => frozen],
    ...(Object.entries(DECIDED) as [keyof RunConfig, View][]).filter(([key]) => config[key] !== undefined),
  ];
  for (const [what, view] of views) {
    const [has, wants] = [view(plan), view(wanted)].map((value) => JSON.stringify(value));
    if (has === wants) continue;
    throw new FulltuneError('E_CONFIG', `${what}: the plan has ${has}, and the settings with these data make ${wants}`, {
      where: 'plan', remedy: 'Make a new plan, or use the settings that the plan was made with.',
    });
  }
}

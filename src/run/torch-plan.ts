/** What a run on PyTorch does: one value per technique, as `fulltune plan --device` chooses it, `torch/` launches it and `worker/` carries it out. */

import type { AdamW, OptimizerChoice, PackingChoice } from './training-plan.ts';

/** Rows per update = worldSize × microBatchSize × accumulationSteps, less the ignored rows that fill the last micro-batches. */
export interface TorchBatch {
  readonly rowsPerUpdate: number;
  /** Per rank. */
  readonly microBatchSize: number;
  readonly accumulationSteps: number;
}

/**
 * `f32`; `bf16` and `f16`: f32 weights under autocast (`f16` with a dynamic loss scale); `bf16-weights`: everything bf16, without f32 masters, updates
 * rounded stochastically.
 */
export type TorchPrecision = 'f32' | 'bf16' | 'f16' | 'bf16-weights';

export type TorchRecompute =
  | { readonly kind: 'none' }
  /** Of every layer, the results of products and attention are kept, the rest is computed again. */
  | { readonly kind: 'selective' }
  /** The first `layers` layers keep their input only. */
  | { readonly kind: 'layers'; readonly layers: number };

/** `fsdp` shards parameters, gradients and optimizer state (ZeRO-3); `zero2` gathers parameters once per step; `ddp` copies everything to each rank. */
export type TorchSharding = 'none' | 'ddp' | 'zero2' | 'fsdp';

export type TorchLoss = { readonly kind: 'whole' } | { readonly kind: 'chunked'; readonly tokens: number };

/**
 * AdamW with moments in blocks of 128 four-bit codes (Li et al. 2023), as torchao computes it: those of matrices and embeddings alike. Vectors, and what
 * torchao cannot cut into blocks or finds too small (under 4096 values), keep moments of the weights' type. The embedded engine does not have it.
 */
export interface AdamW4bit extends Omit<AdamW, 'kind'> {
  readonly kind: 'adamw_4bit';
}

export type TorchOptimizer = OptimizerChoice | AdamW4bit;

export interface TorchPlan {
  readonly version: 1;
  readonly engine: 'torch';
  /** Ranks in all, and per node. */
  readonly worldSize: number;
  readonly ranksPerNode: number;
  readonly packing: PackingChoice;
  readonly batch: TorchBatch;
  readonly precision: TorchPrecision;
  readonly loss: TorchLoss;
  readonly optimizer: TorchOptimizer;
  readonly recompute: TorchRecompute;
  readonly update: 'after-backward' | 'in-backward';
  readonly sharding: TorchSharding;
  /** Sharded parameters and optimizer state live in the memory of the host (FSDP2's CPUOffloadPolicy); with `fsdp` only. */
  readonly cpuOffload: boolean;
  readonly attention: 'sdpa' | 'flex' | 'eager';
  /** torch.compile of each layer. */
  readonly compile: boolean;
  /** Global norm that gradients are scaled down to; 0: not. */
  readonly maxGradNorm: number;
  readonly frozen: readonly string[];
  readonly seed: number;
  /** What the planner expects; absent in a plan that was written by hand. */
  readonly expected?: { readonly peakBytes: number; readonly stepMs: number | null };
}

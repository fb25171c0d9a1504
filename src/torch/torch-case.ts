/** What is estimated: a TorchPlan with the model's shape, or a published run whose details no plan of ours has. */

import type { TorchLoss, TorchPlan, TorchRecompute } from '../run/torch-plan.ts';
import type { Accelerator } from './accelerators.ts';
import type { BlockAttention } from './estimate-activations.ts';
import { countShape, type ModelShape } from './model-shape.ts';

export interface TorchCase {
  readonly shape: ModelShape;
  /** T */
  readonly rowLength: number;
  /** Per rank. */
  readonly microBatchSize: number;
  readonly accumulationSteps: number;
  readonly worldSize: number;
  readonly ranksPerNode: number;
  readonly precision: TorchPlan['precision'];
  readonly attention: BlockAttention;
  /** `offloaded`: layers' inputs wait in the host's memory. */
  readonly recompute: Exclude<TorchRecompute, { readonly kind: 'layers' }> | { readonly kind: 'layers'; readonly layers: number; readonly offloaded?: boolean } | { readonly kind: 'every-second-product' };
  readonly loss: TorchLoss | { readonly kind: 'upcast' };
  readonly optimizer: TorchPlan['optimizer'];
  /** How the update is computed: one kernel, `foreach` over lists, or tensor by tensor. */
  readonly optimizerStep: 'fused' | 'foreach' | 'loop';
  readonly update: TorchPlan['update'];
  readonly sharding: TorchPlan['sharding'];
  readonly cpuOffload: boolean;
  readonly compiled: boolean;
  readonly frozenParameters: number;
  /** Gradients are set to zero instead of being freed (PyTorch before 2.0), or their bytes are. */
  readonly gradientsStay: boolean;
  /** What the CUDA context takes, where it was measured. */
  readonly contextBytes?: number;
  /** The device is the CPU: no library of products has a workspace there. */
  readonly onHost?: boolean;
}

/** As the worker carries a plan out: fused AdamW, gradients freed after the update. On the CPU without `accelerator`. */
export function caseOfPlan(shape: ModelShape, plan: TorchPlan, { frozenParameters = 0, accelerator }: { readonly frozenParameters?: number; readonly accelerator?: Pick<Accelerator, 'hasBf16'> } = {}): TorchCase {
  const { batch, packing } = plan;
  // A mask is needed where several documents share a row, which FlexAttention has as a function, and where a fused kernel would not let query heads share keys.
  const sharesKeys = shape.keyValueHeads < shape.heads && accelerator !== undefined && (plan.precision === 'f32' || !accelerator.hasBf16);
  const attention = plan.attention !== 'sdpa' ? plan.attention : packing.packed || sharesKeys ? 'masked' : 'fused';
  return {
    shape, rowLength: packing.rowLengths.at(-1)!, microBatchSize: batch.microBatchSize, accumulationSteps: batch.accumulationSteps, worldSize: plan.worldSize, ranksPerNode: plan.ranksPerNode,
    precision: plan.precision, attention, recompute: plan.recompute, loss: plan.loss, optimizer: plan.optimizer,
    optimizerStep: plan.optimizer.kind === 'adamw' ? 'fused' : 'loop', update: plan.update, sharding: plan.sharding, cpuOffload: plan.cpuOffload, compiled: plan.compile, frozenParameters,
    // DistributedDataParallel keeps the buckets that they are views of.
    gradientsStay: plan.sharding === 'ddp',
  };
}

/**
 * FLOPs of one token, forward and backward: 6 per parameter that it is multiplied by (Kaplan et al. 2020) and 12·L·D·T for scores and values of
 * all pairs (Chowdhery et al. 2022, appendix B), as throughput tables count them: no discount for causal masks.
 */
export function modelFlops({ parameters, layers, attentionWidth, rowLength }: { readonly parameters: number; readonly layers: number; readonly attentionWidth: number; readonly rowLength: number }): number {
  return 6 * parameters + 12 * layers * attentionWidth * rowLength;
}

/** The same for a shape: of a mixture, only the experts that a token visits. */
export function flopsPerToken(shape: ModelShape, rowLength: number): number {
  return modelFlops({ parameters: countShape(shape).active, layers: shape.layers, attentionWidth: shape.heads * shape.headWidth, rowLength });
}

/** Model FLOPs utilisation: what the model needs at this speed, against the device's dense peak. 0 to 1. */
export function mfu({ flops, tokensPerSecond, peakTflops }: { readonly flops: number; readonly tokensPerSecond: number; readonly peakTflops: number }): number {
  return (flops * tokensPerSecond) / (peakTflops * 1e12);
}

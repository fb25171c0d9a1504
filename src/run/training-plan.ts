/** One value per technique: what `compile` needs to know, besides the model, to build a run. Stored as plan.json. */

/** How a sum's order may differ from the plain run. See docs/techniques.md. */
export type NumericsTier = 'bitwise' | 'reordered' | 'changed';

export interface AdamW {
  readonly kind: 'adamw';
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** AdamW with moments in blocks of 256 eight-bit codes. */
export interface AdamW8bit {
  readonly kind: 'adamw_8bit';
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Embeddings have eight-bit moments too; otherwise they keep f32 ones, like norms and small tensors. */
  readonly embeddings: boolean;
}

export interface Adafactor {
  readonly kind: 'adafactor';
  /** Decay of a full first moment; 0: there is none. */
  readonly beta1: number;
  readonly weightDecay: number;
}

export interface Lion {
  readonly kind: 'lion';
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
}

export interface Sgd {
  readonly kind: 'sgd';
  readonly momentum: number;
  readonly weightDecay: number;
}

export type OptimizerChoice = AdamW | AdamW8bit | Adafactor | Lion | Sgd;

/** Rows per update = microBatchSize × accumulationSteps, less the ignored rows that fill the last micro-batch. */
export interface BatchChoice {
  readonly rowsPerUpdate: number;
  readonly microBatchSize: number;
  readonly accumulationSteps: number;
}

export interface PackingChoice {
  /** Several documents per row. */
  readonly packed: boolean;
  /** Row lengths for which programs are compiled, ascending; one when packed, 1-4 buckets otherwise. */
  readonly rowLengths: readonly number[];
}

/** Element types of activations (with their gradients) and of stored weights. Norm weights and biases are always f32. */
export interface PrecisionChoice {
  readonly activations: 'f32' | 'bf16' | 'f16';
  /** bf16: without f32 masters, updated with stochastic rounding. */
  readonly weights: 'f32' | 'bf16';
}

export type LossChoice =
  /** The logits of a micro-batch exist whole. */
  | { readonly kind: 'whole' }
  /** At most so many token blocks (of up to 384 tokens) are projected at a time. */
  | { readonly kind: 'chunked'; readonly blocks: number };

/** Saved activations that backward computes again. */
export interface RecomputeChoice {
  /** `value` names a kind, such as `mlp/swiglu`; the first `layers` layers drop theirs. */
  readonly dropped: readonly { readonly value: string; readonly layers: number }[];
}

/** When parameters change: `after-backward`, or each as soon as its gradient is complete. */
export type UpdateChoice = 'after-backward' | 'in-backward';

/** What lives in a file and passes through staging buffers. */
export interface OffloadChoice {
  readonly optimizerState: boolean;
  /** Kept activations of the first so many layers. */
  readonly activationLayers: number;
}

export interface TrainingPlan {
  readonly version: 2;
  readonly packing: PackingChoice;
  readonly batch: BatchChoice;
  readonly precision: PrecisionChoice;
  readonly loss: LossChoice;
  readonly optimizer: OptimizerChoice;
  readonly recompute: RecomputeChoice;
  readonly update: UpdateChoice;
  readonly offload: OffloadChoice;
  /** Global norm that gradients are scaled down to; 0: not. */
  readonly maxGradNorm: number;
  /** Names of parameters that get no gradient and no state. */
  readonly frozen: readonly string[];
  /** Seeds stochastic rounding. */
  readonly seed: number;
}

/** The plainest plan for rows of one length: f32, everything kept, nothing moved. The techniques put their values into it. */
export function plainPlan({ rowLength, maxGradNorm = 1, frozen = [], seed = 42 }: {
  readonly rowLength: number; readonly maxGradNorm?: number; readonly frozen?: readonly string[]; readonly seed?: number;
}): TrainingPlan {
  return {
    version: 2,
    packing: { packed: true, rowLengths: [rowLength] },
    batch: { rowsPerUpdate: 1, microBatchSize: 1, accumulationSteps: 1 },
    precision: { activations: 'f32', weights: 'f32' },
    loss: { kind: 'whole' },
    optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
    recompute: { dropped: [] },
    update: 'after-backward',
    offload: { optimizerState: false, activationLayers: 0 },
    maxGradNorm, frozen, seed,
  };
}

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

export interface Sgd {
  readonly kind: 'sgd';
  readonly momentum: number;
  readonly weightDecay: number;
}

export type OptimizerChoice = AdamW | Sgd;

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

export interface TrainingPlan {
  readonly version: 1;
  readonly packing: PackingChoice;
  readonly batch: BatchChoice;
  readonly optimizer: OptimizerChoice;
  /** Global norm that gradients are scaled down to; 0: not. */
  readonly maxGradNorm: number;
  /** Names of parameters that get no gradient and no state. */
  readonly frozen: readonly string[];
}

/** The contract of an optimizer: which state a parameter needs, and the nodes of its update. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import type { TensorType } from '../graph/shape.ts';

/** One state tensor, e.g. `exp_avg` f32 [D, F]. Zero bytes before the first step. */
export interface StateTensor extends TensorType {
  /** The name PyTorch gives it; the stored tensor is `<parameter>.<name>`. */
  readonly name: string;
}

/** A parameter as an optimizer sees it. */
export interface OptimizedParameter extends TensorType {
  readonly name: string;
  /** A table of embeddings: its rows see few tokens each. */
  readonly isEmbedding: boolean;
}

export interface UpdateInputs {
  readonly builder: GraphBuilder;
  readonly parameter: ValueId;
  readonly gradient: ValueId;
  /** The values of `state`, in its order. */
  readonly state: readonly ValueId[];
  /** f32 [1]. */
  readonly learningRate: ValueId;
  /** i32 [1], 1 in the first update. */
  readonly step: ValueId;
  /** f32 [1]: clipping factor. */
  readonly gradientScale: ValueId;
  readonly isEmbedding: boolean;
  /** Seeds the stochastic rounding of this parameter where it is stored in bf16: no two parameters share a stream. */
  readonly roundingSeed: number;
}

export interface UpdateRule {
  readonly name: string;
  state(parameter: OptimizedParameter): readonly StateTensor[];
  /**
   * Appends the nodes that overwrite parameter and state. May return a value f32 [2]: Σ error² and Σ value² of what its state loses to
   * quantisation.
   */
  update(inputs: UpdateInputs): ValueId | undefined;
}

/** Weight decay applies to matrices and embeddings, not to biases and norm weights (as transformers' Trainer does). */
export function decays(parameter: TensorType): boolean {
  return parameter.shape.length >= 2;
}

/** Name of a state tensor across programs and in optimizer.safetensors. */
export function stateName(parameter: { readonly name: string }, state: StateTensor): string {
  return `${parameter.name}.${state.name}`;
}

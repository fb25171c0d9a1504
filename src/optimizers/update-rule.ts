/** The contract of an optimizer: which state a parameter needs, and the nodes of its update. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Value, ValueId } from '../graph/graph.ts';
import type { TensorType } from '../graph/shape.ts';

/** One state tensor, e.g. `exp_avg` f32 [D, F]. Zero before the first step. */
export interface StateTensor extends TensorType {
  /** The name PyTorch gives it; the stored tensor is `<parameter>.<name>`. */
  readonly name: string;
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
}

export interface UpdateRule {
  readonly name: string;
  state(parameter: Value): readonly StateTensor[];
  /** Appends the nodes that overwrite parameter and state. */
  update(inputs: UpdateInputs): void;
}

/** Weight decay applies to matrices and embeddings, not to biases and norm weights (as transformers' Trainer does). */
export function decays(parameter: Value): boolean {
  return parameter.shape.length >= 2;
}

/** Name of a state tensor across programs and in optimizer.safetensors. */
export function stateName(parameter: Value, state: StateTensor): string {
  return `${parameter.name}.${state.name}`;
}

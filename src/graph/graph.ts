/**
 * The static graph of one training step: readonly data, no behaviour.
 *
 * `nodes` is in execution order. A value is written once. A node that overwrites an input makes a *new* value in the same bytes;
 * every other reader of the old value stands before it (`verify` checks this).
 */

import type { StorageClass } from '../run/storage-class.ts';
import type { TensorType } from './shape.ts';

/** Index into `Graph.values`. */
export type ValueId = number;

export type { StorageClass };

/** `recompute`: forward work done again for backward. */
export type Phase = 'forward' | 'recompute' | 'backward' | 'update';

export interface Value extends TensorType {
  readonly id: ValueId;
  /**
   * Where it comes from, for people. Of inputs and persistent values the only one in the graph, and the identity across programs: what overwrites
   * `model.layers.0.mlp.up_proj.weight` has the same name.
   */
  readonly name: string;
  readonly storage: StorageClass;
  /** Keeps its bytes and offset between runs and in every program of the run. */
  readonly persistent: boolean;
  /** Model path such as `layers.3.attention`; empty at the top. */
  readonly scope: string;
}

/** All attributes are numbers (flags are 0 or 1), so that a node serialises as it is. */
export type Attrs = Readonly<Record<string, number>>;

/** Output `output` of the node lives in the bytes of its input `input`. */
export interface Overwrite {
  readonly output: number;
  readonly input: number;
}

export interface Node {
  readonly op: string;
  readonly inputs: readonly ValueId[];
  readonly outputs: readonly ValueId[];
  readonly attrs: Attrs;
  readonly overwrites: readonly Overwrite[];
  readonly phase: Phase;
  readonly scope: string;
  /** Does something outside the arena (a write to a file): kept even when nobody reads its outputs, and never shared. */
  readonly effect?: true | undefined;
  /** Index into `Graph.regions`: what the node moves to or from the file; its attribute `at` counts bytes from the beginning of that region. */
  readonly region?: number | undefined;
}

export interface Graph {
  readonly values: readonly Value[];
  readonly nodes: readonly Node[];
  /** Values that no node makes: parameters, state, runtime inputs, constants, caches. */
  readonly inputs: readonly ValueId[];
  /** Values that the host reads after a run, by name (`loss`, `gradientNorm`, …). */
  readonly outputs: Readonly<Record<string, ValueId>>;
  /** Contents of the `constant` values. */
  readonly constants: Readonly<Record<ValueId, readonly number[]>>;
  /**
   * Values that live in the file beside the arena instead of in the arena, whole; absent: none. A persistent one has one place in the file in all
   * programs of the run, by its name.
   */
  readonly regions?: readonly Value[];
}

export function valueOf(graph: Graph, id: ValueId): Value {
  const value = graph.values[id];
  if (value === undefined) throw new RangeError(`value ${id} is not in a graph of ${graph.values.length}`);
  return value;
}

/** A program: the flat, serialisable form of one graph, ready for a device. Only `compile/` builds programs. */

import type { Attrs, Phase } from '../graph/graph.ts';
import type { TensorType } from '../graph/shape.ts';

/** A tensor in the arena: element type, sizes, and the byte where it starts. */
export interface Operand extends TensorType {
  readonly offset: number;
}

export interface Instruction {
  readonly op: string;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
  readonly attrs: Attrs;
  /** Scratch bytes for this instruction alone. */
  readonly workspace: { readonly offset: number; readonly bytes: number };
  readonly phase: Phase;
  readonly scope: string;
}

export interface Program {
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** Bytes of the arena that all programs of the run share. */
  readonly arenaBytes: number;
  /** Values that the host writes before each run. */
  readonly inputs: Readonly<Record<string, Operand>>;
  /** Values that the host may read after each run, until the next one starts. */
  readonly outputs: Readonly<Record<string, Operand>>;
  /** Index of the first instruction that changes parameters or optimizer state: a cancelled run stops before it or not at all. */
  readonly commitIndex: number;
}

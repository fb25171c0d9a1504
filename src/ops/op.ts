/**
 * The contract of an op: everything the rest of the program knows about it. One file per op family exports its `Op`s and the
 * function that builds its node; `ops/index.ts` is the table. Kernels live in `native/`, one per op and device.
 */

import { FulltuneError } from '../base/errors.ts';
import type { GraphBuilder } from '../graph/builder.ts';
import type { Attrs, Node, Overwrite, ValueId } from '../graph/graph.ts';
import type { TensorType } from '../graph/shape.ts';

/** What a vjp rule is given. It appends nodes to `builder` (already in phase `backward`, in the forward node's scope). */
export interface VjpContext {
  readonly builder: GraphBuilder;
  readonly node: Node;
  /** Gradient of output `index`; undefined when nothing downstream needs it. */
  gradient(index: number): ValueId | undefined;
  /** Whether input `index` leads back to something that is trained. */
  needs(index: number): boolean;
  /**
   * The running gradient of *this use* of parameter input `index` from earlier micro-steps, or undefined in the first. When given,
   * the rule must continue that sum in place (an overwriting node): the first token block is added as if it followed the last one.
   */
  accumulator(index: number): ValueId | undefined;
  /**
   * The finished gradient of the *other* uses of parameter input `index` (tied weights). Only for inputs listed in `merges`: the rule
   * sums its own contribution from zero and adds it to these bytes in place.
   */
  merge(index: number): ValueId | undefined;
  /**
   * Says that the rule has computed output `index` of the forward node once more, as `value`: the host may read that one, and a
   * forward node that nobody else reads goes away.
   */
  alsoYields(index: number, value: ValueId): void;
}

/** One test case: types and attributes, and how to fill what random numbers in [-1, 1) would not fit. */
export interface Sample {
  readonly name: string;
  readonly inputs: readonly TensorType[];
  readonly attrs: Attrs;
  /** Fills input `index`, e.g. ids below a bound; undefined elements are random in [-1, 1). */
  readonly fill?: (index: number, random: () => number) => readonly number[] | undefined;
  /** Relative tolerance in f32 against the f64 reference, on max |error| / max |reference|. Default 2e-6. */
  readonly tolerance?: number;
}

export interface Op {
  readonly name: string;
  /** Attribute names in the order in which kernels read them. */
  readonly attrs: readonly string[];
  /** Output types, or throws through `expect`. */
  infer(inputs: readonly TensorType[], attrs: Attrs): readonly TensorType[];
  /** Multiplications and additions, 2 per fused pair; causal attention counts the half that is done. */
  flops(inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
  /** Bytes that must move if nothing is cached; by default all inputs and outputs once. */
  bytesMoved?(inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
  /** Gradients of the inputs, in order. Absent: not differentiable. */
  vjp?(context: VjpContext): readonly (ValueId | undefined)[];
  /** Input and output indices whose values the vjp reads: what must be kept or recomputed. */
  readonly saved?: { readonly inputs: readonly number[]; readonly outputs: readonly number[] };
  /** Inputs whose vjp can fold in the gradient of other uses (see VjpContext.merge). */
  readonly merges?: readonly number[];
  /** Which outputs may take over the bytes of which inputs when nobody reads these any more. */
  readonly mayOverwrite?: readonly Overwrite[];
  /** Which outputs always live in the bytes of an input, given the attributes (accumulation, updates). */
  mustOverwrite?(attrs: Attrs): readonly Overwrite[];
  /** `matmul` and `attention` are bound by arithmetic, the rest by memory. */
  readonly bound: 'compute' | 'memory';
  /**
   * Moves bytes between the arena and its file. Devices do that themselves, and `reference` says nothing of it; what must come out is tested in
   * src/devices/testing/file-conformance.ts, not by samples.
   */
  readonly file?: 'read' | 'wait' | 'write' | 'flush';
  /** The definition, in f64: outputs from inputs. Must not modify its inputs. */
  reference(inputs: readonly Float64Array[], attrs: Attrs, inputTypes: readonly TensorType[], outputTypes: readonly TensorType[]): readonly Float64Array[];
  /** Cases for the gradcheck and for the conformance of every device: odd sizes, size 1, non-multiples of the vector width. */
  readonly samples: readonly Sample[];
}

/** The value of a required attribute. */
export function attr(attrs: Attrs, name: string): number {
  const value = attrs[name];
  if (value === undefined) throw new RangeError(`attribute '${name}' is missing`);
  return value;
}

/** Throws a shape error (the builder adds op, inputs and model path) unless `condition` holds. */
export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) misfit(message);
}

/** The same, where the message costs more to make than the condition: graphs of 100,000 nodes are checked over and over. */
export function misfit(message: string): never {
  throw new FulltuneError('E_SHAPE', message);
}

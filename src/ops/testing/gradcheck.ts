/**
 * Compares an op's vjp rule with central differences of its definition, both in f64. The vjp's nodes are run by the interpreter, so
 * the rule and the backward ops that it uses are checked together, free of any kernel.
 */

import { RandomStream } from '../../base/random.ts';
import { GraphBuilder } from '../../graph/builder.ts';
import { isFloat } from '../../graph/dtype.ts';
import type { Graph, Node, ValueId } from '../../graph/graph.ts';
import { elementCount } from '../../graph/shape.ts';
import { verifyGraph } from '../../graph/verify.ts';
import { opOf, shapeRules } from '../index.ts';
import type { Op, Sample } from '../op.ts';
import { at } from '../rules.ts';
import { fillSample } from './fill.ts';

/** Runs a graph in f64; devices/reference has it. Given from outside, because ops know no device. */
export type Interpreter = (graph: Graph, inputs: Readonly<Record<string, Float64Array>>) => Record<string, Float64Array>;

export interface Gradcheck {
  /** Worst relative error per input with a gradient; undefined for inputs that the rule gives none. */
  readonly errors: readonly (number | undefined)[];
  /** Nodes that the rule appended. */
  readonly nodes: readonly Node[];
  /** Inputs for which the rule asked for the running gradient, and for the other uses' gradient. */
  readonly accumulated: readonly number[];
  readonly merged: readonly number[];
  /** Forward values that the rule read: indices of inputs and outputs. */
  readonly read: { readonly inputs: readonly number[]; readonly outputs: readonly number[] };
}

export interface GradcheckOptions {
  readonly interpret: Interpreter;
  readonly seed?: number;
  /** Which inputs lead back to something trained; all of float type by default. */
  readonly needs?: (index: number) => boolean;
  /** Running gradients are given where the rule asks: its result must be that plus the gradient. */
  readonly accumulate?: boolean;
  /** The gradient of another use is given where the op lists the input in `merges`. */
  readonly merge?: boolean;
}

/** Checks one sample. The functional that is differentiated is Σ dy·y over output 0 with random dy: the other outputs are statistics. */
export function gradcheck(op: Op, sample: Sample, options: GradcheckOptions): Gradcheck {
  const seed = options.seed ?? 1;
  const inputs = fillSample(sample, seed);
  const { graph, node, before, gradients, accumulated, merged } = buildGraph(op, sample, options);
  const random = new RandomStream(seed, 1000);
  const uniform = (count: number): Float64Array => Float64Array.from({ length: count }, () => 2 * random.uniform() - 1);
  const sizeOf = (id: ValueId): number => elementCount(at(graph.values, id).shape);

  const dy = uniform(sizeOf(at(node.outputs, 0)));
  const given: Record<string, Float64Array> = { dy };
  inputs.forEach((array, index) => (given[inputName(index)] = array));
  for (const [index, id] of before) given[at(graph.values, id).name] = uniform(sizeOf(at(node.inputs, index)));
  const computed = options.interpret(graph, given);

  const outputTypes = op.infer(sample.inputs, sample.attrs);
  const functional = (arrays: readonly Float64Array[]): number => {
    const y = at(op.reference(arrays, sample.attrs, sample.inputs, outputTypes), 0);
    return y.reduce((sum, element, i) => sum + element * elementAt(dy, i), 0);
  };
  const errors = inputs.map((_, index) => {
    if (gradients[index] === undefined) return undefined;
    const total = named(computed, gradientOutput(index));
    const earlier = before.get(index);
    const start = earlier === undefined ? undefined : named(given, at(graph.values, earlier).name);
    return worstError(functional, inputs, index, total.map((element, i) => element - (start?.[i] ?? 0)), random);
  });

  const appended = graph.nodes.slice(1);
  const made = new Set(appended.flatMap((n) => n.outputs));
  const reads = new Set(appended.flatMap((n) => n.inputs).filter((id) => !made.has(id)));
  const read = {
    inputs: node.inputs.flatMap((id, index) => (reads.has(id) ? [index] : [])),
    outputs: node.outputs.flatMap((id, index) => (reads.has(id) ? [index] : [])),
  };
  return { errors, nodes: appended, accumulated, merged, read };
}

interface BuiltGraph {
  readonly graph: Graph;
  readonly node: Node;
  /** The gradient that was there before, by input. */
  readonly before: ReadonlyMap<number, ValueId>;
  readonly gradients: readonly (ValueId | undefined)[];
  readonly accumulated: readonly number[];
  readonly merged: readonly number[];
}

/** The op's node and, in phase `backward`, what its rule appends. Every graph that a rule makes must verify. */
function buildGraph(op: Op, sample: Sample, options: GradcheckOptions): BuiltGraph {
  if (op.vjp === undefined) throw new Error(`${op.name} has no vjp`);
  const builder = new GraphBuilder(shapeRules);
  const ids = sample.inputs.map((type, index) =>
    isFloat(type.dtype) ? builder.parameter(inputName(index), type.dtype, ...type.shape) : builder.input(inputName(index), type.dtype, ...type.shape),
  );
  builder.node(op.name, ids, sample.attrs);
  const node = at(builder.nodesSoFar, 0);
  const y = builder.type(at(node.outputs, 0));
  const dy = builder.input('dy', y.dtype, ...y.shape);
  const before = new Map<number, ValueId>();
  const accumulated: number[] = [];
  const merged: number[] = [];
  const earlier = (index: number, what: string, asked: number[]): ValueId => {
    asked.push(index);
    const id = builder.persistent(`${what} ${index}`, 'gradient', { dtype: 'f32', shape: at(sample.inputs, index).shape });
    before.set(index, id);
    return id;
  };
  builder.phase = 'backward';
  const gradients = op.vjp({
    builder,
    node,
    gradient: (index) => (index === 0 ? dy : undefined),
    needs: (index) => isFloat(at(sample.inputs, index).dtype) && (options.needs?.(index) ?? true),
    accumulator: (index) => (options.accumulate === true ? earlier(index, 'running', accumulated) : undefined),
    merge: (index) => (options.merge === true && op.merges?.includes(index) === true ? earlier(index, 'other use', merged) : undefined),
    alsoYields: () => undefined,
  });
  gradients.forEach((id, index) => {
    if (id === undefined) return;
    const [input, gradient] = [at(sample.inputs, index), builder.type(id)];
    if (elementCount(gradient.shape) !== elementCount(input.shape)) throw new Error(`${op.name}: the gradient of input ${index} has another size`);
    builder.output(gradientOutput(index), id);
  });
  const graph = builder.finish();
  verifyGraph(graph, shapeRules);
  for (const appended of graph.nodes.slice(1)) verifyMustOverwrite(appended);
  return { graph, node, before, gradients, accumulated, merged };
}

function verifyMustOverwrite(node: Node): void {
  for (const must of opOf(node.op).mustOverwrite?.(node.attrs) ?? []) {
    if (!node.overwrites.some((o) => o.input === must.input && o.output === must.output)) {
      throw new Error(`${node.op}: output ${must.output} must live in the bytes of input ${must.input}`);
    }
  }
}

const STEP = 1e-4;
const SINGLE_ELEMENTS = 12;
const DIRECTIONS = 3;

/** The largest error of single elements relative to the largest gradient element, and of random directions relative to their norm. */
function worstError(
  functional: (arrays: readonly Float64Array[]) => number,
  inputs: readonly Float64Array[],
  index: number,
  gradient: Float64Array,
  random: RandomStream,
): number {
  const x = at(inputs, index);
  const along = (direction: Float64Array): number => {
    const moved = (h: number): number => functional(inputs.with(index, x.map((element, j) => element + h * elementAt(direction, j))));
    return (8 * (moved(STEP) - moved(-STEP)) - (moved(2 * STEP) - moved(-2 * STEP))) / (12 * STEP); // fourth order
  };
  const largest = gradient.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const norm = Math.sqrt(gradient.reduce((sum, element) => sum + element * element, 0));
  let worst = 0;
  for (let i = 0; i < Math.min(SINGLE_ELEMENTS, x.length); i++) {
    const element = x.length <= SINGLE_ELEMENTS ? i : random.below(x.length);
    const measured = along(Float64Array.from(x, (_, j) => (j === element ? 1 : 0)));
    worst = Math.max(worst, relative(measured, elementAt(gradient, element), largest));
  }
  for (let i = 0; i < DIRECTIONS; i++) {
    const direction = Float64Array.from(x, () => (random.uint32() % 2 === 0 ? 1 : -1));
    const expected = gradient.reduce((sum, element, j) => sum + element * elementAt(direction, j), 0);
    worst = Math.max(worst, relative(along(direction), expected, norm));
  }
  return worst;
}

/** Not a number when either is not; 0 when both are. Differences below what f64 resolves of sums of this kind count as none. */
function relative(measured: number, expected: number, size: number): number {
  const difference = Math.abs(measured - expected);
  return difference <= 1e-10 ? 0 : difference / Math.max(Math.abs(measured), Math.abs(expected), size);
}

function inputName(index: number): string {
  return `x${index}`;
}

function gradientOutput(index: number): string {
  return `d${index}`;
}

function elementAt(array: Float64Array, index: number): number {
  return array[index] ?? NaN;
}

function named(arrays: Readonly<Record<string, Float64Array>>, name: string): Float64Array {
  const array = arrays[name];
  if (array === undefined) throw new RangeError(`no array '${name}'`);
  return array;
}

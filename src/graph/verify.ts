/**
 * Checks what every pass must keep true of a graph. What it throws is a bug in a pass or a model, never a user's mistake.
 */

import type { ShapeRules } from './builder.ts';
import type { Graph, Node, Value, ValueId } from './graph.ts';
import { printNode } from './print.ts';
import { byteCount, elementCount, formatType, sameShape, type TensorType } from './shape.ts';

/**
 * Throws an Error naming the node unless: values are where their ids say; what the graph reads or keeps has a name of its own; each is written once and before it is
 * read; no node but the overwriting one reads a value at or after the place where it is overwritten, and nothing is overwritten
 * twice; inputs and constants of the graph are never overwritten; shapes and dtypes follow from the ops; outputs exist and still hold;
 * what is moved to or from the file lies inside its region.
 */
export function verifyGraph(graph: Graph, rules: ShapeRules): void {
  verifyValues(graph);
  const available = new Set(graph.inputs);
  const overwritten = new Map<ValueId, Node>();
  const fail = (node: Node, problem: string): never => {
    throw new Error(`graph: ${problem}\n  at ${safePrint(graph, node)}`);
  };
  for (const node of graph.nodes) {
    for (const id of node.inputs) {
      if (!available.has(id)) fail(node, `value %${id} is read before it is made`);
      const over = overwritten.get(id);
      if (over !== undefined) fail(node, `value %${id} is read after it was overwritten by ${over.op}`);
    }
    for (const id of node.outputs) {
      if (available.has(id)) fail(node, `value %${id} is written twice`);
      if (graph.values[id] === undefined) fail(node, `value %${id} does not exist`);
      available.add(id);
    }
    verifyTypes(graph, node, rules, fail);
    verifyRegion(graph, node, fail);
    verifyOverwrites(graph, node, fail);
    for (const { input } of node.overwrites) overwritten.set(node.inputs[input]!, node);
  }
  for (const [name, id] of Object.entries(graph.outputs)) {
    if (!available.has(id)) throw new Error(`graph: output '${name}' is value %${id}, which nothing makes`);
    const over = overwritten.get(id);
    if (over !== undefined) fail(over, `output '${name}' is overwritten here`);
  }
}

function verifyValues(graph: Graph): void {
  const overwriting = new Set(graph.nodes.flatMap(({ overwrites, outputs }) => overwrites.map(({ output }) => outputs[output])));
  const inputs = new Set<ValueId>();
  for (const id of graph.inputs) {
    if (graph.values[id] === undefined) throw new Error(`graph: input %${id} does not exist`);
    if (inputs.has(id)) throw new Error(`graph: input %${id} is listed twice`);
    inputs.add(id);
  }
  const names = new Set<string>();
  graph.values.forEach((value, index) => {
    if (value.id !== index) throw new Error(`graph: value '${value.name}' at ${index} has the id ${value.id}`);
    if (!inputs.has(index) && (!value.persistent || overwriting.has(index))) return;
    if (names.has(value.name)) throw new Error(`graph: two values are named '${value.name}'`);
    names.add(value.name);
  });
  for (const [id, data] of Object.entries(graph.constants)) {
    const value = graph.values[Number(id)];
    const fits = value?.storage === 'constant' && elementCount(value.shape) === data.length;
    if (!fits) throw new Error(`graph: ${data.length} numbers for %${id}, which is no such constant`);
  }
}

type Fail = (node: Node, problem: string) => never;

function verifyTypes(graph: Graph, node: Node, rules: ShapeRules, fail: Fail): void {
  const types = (ids: readonly ValueId[]): readonly TensorType[] => ids.map((id) => graph.values[id]!);
  const inferred = rules.infer(node.op, types(node.inputs), node.attrs);
  const stored = types(node.outputs);
  if (inferred.length !== stored.length) fail(node, `${node.op} makes ${inferred.length} values, the node ${stored.length}`);
  inferred.forEach((type, index) => {
    const value = stored[index];
    if (value === undefined || value.dtype !== type.dtype || !sameShape(value.shape, type.shape)) {
      fail(node, `output ${index} must be ${formatType(type)}, and is ${value === undefined ? 'absent' : formatType(value)}`);
    }
  });
}

function verifyRegion(graph: Graph, node: Node, fail: Fail): void {
  if (node.region === undefined) return;
  const region = graph.regions?.[node.region];
  if (region === undefined) return fail(node, `there is no region ${node.region}`);
  const types = [valueAt(graph, node.inputs, 0), valueAt(graph, node.outputs, 0)].flatMap((value) => value ?? []);
  const moved = types.reduce((most, type) => Math.max(most, byteCount(type)), 0); // the other one is a token of four bytes
  const first = node.attrs['at'] ?? NaN;
  if (!(first >= 0 && first + moved <= Math.max(4, byteCount(region)))) fail(node, `it leaves the region '${region.name}' of ${byteCount(region)} bytes`);
}

function verifyOverwrites(graph: Graph, node: Node, fail: Fail): void {
  if (node.overwrites.length === 0) return;
  const outputs = new Set<number>();
  const bytes = new Set<ValueId>();
  for (const { input, output } of node.overwrites) {
    const [from, to] = [valueAt(graph, node.inputs, input), valueAt(graph, node.outputs, output)];
    if (from === undefined || to === undefined) return fail(node, `output ${output} overwrites input ${input}, and one of them does not exist`);
    if (from.storage === 'input' || from.storage === 'constant') fail(node, `${from.storage} '${from.name}' is overwritten`);
    const fits = from.dtype === to.dtype && elementCount(from.shape) === elementCount(to.shape);
    if (!fits) fail(node, `${formatType(to)} cannot live in the bytes of ${formatType(from)}`);
    if (from.persistent && (!to.persistent || to.name !== from.name)) fail(node, `persistent '${from.name}' is overwritten by '${to.name}', which is not that`);
    if (outputs.has(output)) fail(node, `output ${output} overwrites two inputs`);
    if (bytes.has(from.id)) fail(node, `input '${from.name}' is overwritten by two outputs`);
    outputs.add(output);
    bytes.add(from.id);
  }
}

function valueAt(graph: Graph, ids: readonly ValueId[], index: number): Value | undefined {
  const id = ids[index];
  return id === undefined ? undefined : graph.values[id];
}

/** The node as text even where its values do not exist. */
function safePrint(graph: Graph, node: Node): string {
  const whole = [...node.inputs, ...node.outputs].every((id) => graph.values[id] !== undefined);
  return whole ? printNode(graph, node) : `${node.op} in ${node.scope}`;
}

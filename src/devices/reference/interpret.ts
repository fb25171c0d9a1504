/** Runs a graph node by node in f64 by the ops' definitions, without rounding, arena or program: what everything else is compared with. */

import type { Graph, ValueId } from '../../graph/graph.ts';
import { elementCount, formatType } from '../../graph/shape.ts';
import { opOf } from '../../ops/index.ts';

/** Elements by value name. */
export type NamedArrays = Readonly<Record<string, Float64Array>>;

/** The outputs of `graph` by name, for graph inputs by name (constants bring their own). Throws when an input is missing or of another size. */
export function interpret(graph: Graph, inputs: NamedArrays): Record<string, Float64Array> {
  const held = interpretAll(graph, inputs);
  return Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, held.get(id)!] as const));
}

/**
 * Every value by id, as `interpret`. What is written to the file beside the arena can be read back where it was written, in the same pieces; what never
 * was is 0.
 */
export function interpretAll(graph: Graph, inputs: NamedArrays): ReadonlyMap<ValueId, Float64Array> {
  const held = new Map<ValueId, Float64Array>();
  const get = (id: ValueId): Float64Array => {
    const array = held.get(id);
    if (array === undefined) throw new RangeError(`value %${id} '${graph.values[id]?.name}' has no elements`);
    return array;
  };
  for (const id of graph.inputs) {
    const value = graph.values[id];
    if (value === undefined) throw new RangeError(`input %${id} is not in the graph`);
    const constant = graph.constants[id];
    const array = inputs[value.name] ?? (constant === undefined ? undefined : Float64Array.from(constant));
    if (array === undefined) throw new RangeError(`input '${value.name}' is missing`);
    if (array.length !== elementCount(value.shape)) throw new RangeError(`input '${value.name}' has ${array.length} elements for ${formatType(value)}`);
    held.set(id, array);
  }
  const file = new Map<string, Float64Array>();
  for (const node of graph.nodes) {
    const types = (ids: readonly ValueId[]) => ids.flatMap((id) => graph.values[id] ?? []);
    const op = opOf(node.op);
    const place = `${node.region}:${node.attrs['at']}`;
    const [first] = node.inputs;
    if (op.file === 'write' && first !== undefined) file.set(place, get(first));
    if (op.file === 'read') {
      const [id, type] = [node.outputs[0], types(node.outputs)[0]];
      if (id !== undefined && type !== undefined) held.set(id, file.get(place) ?? new Float64Array(elementCount(type.shape)));
      continue;
    }
    const results = op.reference(node.inputs.map(get), node.attrs, types(node.inputs), types(node.outputs));
    results.forEach((array, index) => {
      const id = node.outputs[index];
      if (id !== undefined) held.set(id, array);
    });
  }
  return held;
}

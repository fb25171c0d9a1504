/** Replays a finished graph node by node into a new one, so that types can change and nodes be put in between; the rest follows by inference. */

import { GraphBuilder, type ShapeRules } from './builder.ts';
import type { DType } from './dtype.ts';
import type { Graph, Node, Value, ValueId } from './graph.ts';

/** What may differ from the original; what a hook appends stands at the node's place in model and phase. */
export interface RebuildHooks {
  /** Element type of a value that no node makes; by default its own. */
  dtype?(value: Value): DType;
  /** What the copy of `node` reads, from its inputs in the new graph; one for each. */
  inputs?(builder: GraphBuilder, node: Node, inputs: readonly ValueId[]): readonly ValueId[];
  /** What stands for the outputs of `node` from here on, for later nodes and the host, from those that its copy made; one for each. */
  outputs?(builder: GraphBuilder, node: Node, outputs: readonly ValueId[]): readonly ValueId[];
}

/**
 * A copy of `graph` with its names, scopes, phases, storage classes, constants and outputs; without hooks the same but for values that
 * nobody makes any more. Throws E_SHAPE where an op does not take a type that a hook chose.
 */
export function rebuild(graph: Graph, rules: ShapeRules, hooks: RebuildHooks = {}): Graph {
  const builder = new GraphBuilder(rules);
  const copies = new Map<ValueId, ValueId>();
  const copyOf = (id: ValueId): ValueId => {
    const copy = copies.get(id);
    if (copy === undefined) throw new RangeError(`value %${id} '${graph.values[id]?.name}' is read before it is made`);
    return copy;
  };
  // Values keep their order: sources come where they were first named, between the nodes.
  const sources = [...graph.inputs].sort((a, b) => a - b);
  const copySourcesBefore = (end: ValueId): void => {
    for (let id = sources[0]; id !== undefined && id < end; id = sources[0]) {
      sources.shift();
      copies.set(id, copySource(builder, graph, id, hooks));
    }
  };
  for (const node of graph.nodes) {
    copySourcesBefore(Math.max(0, ...node.inputs.map((id) => id + 1), ...node.outputs));
    builder.within(node.scope, node.phase, () => copyNode(node));
  }
  copySourcesBefore(graph.values.length);
  for (const [name, id] of Object.entries(graph.outputs)) builder.output(name, copyOf(id));
  return builder.finish();

  function copyNode(node: Node): void {
    const inputs = node.inputs.map(copyOf);
    const values = node.outputs.map((id) => graph.values[id]!);
    const storage = values.find(({ persistent }) => !persistent)?.storage;
    const made = builder.node(node.op, hooks.inputs?.(builder, node, inputs) ?? inputs, node.attrs, {
      overwrites: node.overwrites,
      names: values.map(({ name }) => name),
      ...(storage === undefined ? {} : { storage }),
      ...(node.effect === undefined ? {} : { effect: node.effect }),
    });
    values.forEach((value, index) => {
      const id = made[index]!;
      if (value.persistent && !builder.type(id).persistent) builder.keep(id, value.name, value.storage);
    });
    const outputs = hooks.outputs?.(builder, node, made) ?? made;
    node.outputs.forEach((id, index) => copies.set(id, outputs[index]!));
  }
}

/** A value that no node makes: parameter, runtime input, constant, or anything else that persists. */
function copySource(builder: GraphBuilder, graph: Graph, id: ValueId, hooks: RebuildHooks): ValueId {
  const value = graph.values[id]!;
  const type = { dtype: hooks.dtype?.(value) ?? value.dtype, shape: value.shape };
  const constant = graph.constants[id];
  return builder.within(value.scope, 'forward', () => {
    if (constant !== undefined) return builder.constant(value.name, type.dtype, constant, ...type.shape);
    if (value.persistent) return builder.persistent(value.name, value.storage, type);
    return builder.input(value.name, type.dtype, ...type.shape);
  });
}

/** Lets outputs take over the bytes of inputs that nobody reads afterwards, where the op allows it. */

import type { Graph, Node, Overwrite, ValueId } from '../../graph/graph.ts';
import { byteCount } from '../../graph/shape.ts';
import { opOf } from '../../ops/index.ts';

export function reuseInPlace(graph: Graph): Graph {
  const lastReader = new Int32Array(graph.values.length);
  graph.nodes.forEach(({ inputs }, position) => {
    for (const id of inputs) lastReader[id] = position;
  });
  const fixed = new Set<ValueId>([...graph.inputs, ...Object.values(graph.outputs)]);
  const nodes = graph.nodes.map((node, position): Node => {
    if (node.overwrites.length > 0) return node;
    const taken = new Set<ValueId>();
    const overwrites: Overwrite[] = [];
    for (const candidate of opOf(node.op).mayOverwrite ?? []) {
      const from = node.inputs[candidate.input];
      const to = node.outputs[candidate.output];
      if (from === undefined || to === undefined || fixed.has(from) || taken.has(from)) continue;
      if (lastReader[from] !== position || overwrites.some((o) => o.output === candidate.output)) continue;
      const old = graph.values[from]!;
      const made = graph.values[to]!;
      if (old.persistent || made.persistent || old.dtype !== made.dtype || byteCount(old) !== byteCount(made)) continue;
      taken.add(from);
      overwrites.push(candidate);
    }
    return overwrites.length === 0 ? node : { ...node, overwrites };
  });
  return { ...graph, nodes };
}

/** Drops nodes whose outputs nobody reads: not a later node, not the host, and not a later run (persistent values). */

import type { Graph, Node, ValueId } from '../../graph/graph.ts';

export function removeDeadCode(graph: Graph): Graph {
  const used = new Set<ValueId>(Object.values(graph.outputs));
  const kept: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((id) => used.has(id) || graph.values[id]!.persistent)) continue;
    for (const id of node.inputs) used.add(id);
    kept.push(node);
  }
  const inputs = graph.inputs.filter((id) => used.has(id) || graph.values[id]!.persistent);
  return { ...graph, nodes: kept.reverse(), inputs };
}

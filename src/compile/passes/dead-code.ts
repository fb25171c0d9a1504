/** Drops nodes whose outputs nobody reads: not a later node, not the host, and not a later run (persistent values). */

import type { Graph } from '../../graph/graph.ts';
import { liveNodes } from '../../graph/walk.ts';

export function removeDeadCode(graph: Graph): Graph {
  const live = liveNodes(graph);
  const nodes = graph.nodes.filter((_, position) => live.has(position));
  const read = new Set([...Object.values(graph.outputs), ...nodes.flatMap((node) => node.inputs)]);
  const inputs = graph.inputs.filter((id) => read.has(id) || graph.values[id]!.persistent);
  return { ...graph, nodes, inputs };
}

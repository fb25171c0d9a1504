/** Drops nodes whose outputs nobody reads: not a later node, not the host, and not a later run (persistent values). */

import type { Graph } from '../../graph/graph.ts';
import { liveNodes } from '../../graph/walk.ts';

export function removeDeadCode(graph: Graph): Graph {
  const nodes = liveNodes(graph);
  const read = new Uint8Array(graph.values.length);
  for (const id of Object.values(graph.outputs)) read[id] = 1;
  for (const node of nodes) for (const id of node.inputs) read[id] = 1;
  const inputs = graph.inputs.filter((id) => read[id] === 1 || graph.values[id]!.persistent);
  return { ...graph, nodes, inputs };
}

/** Computes what is computed twice once: same op, same inputs, same attributes, nothing overwritten. */

import type { Graph, Node, ValueId } from '../../graph/graph.ts';

export function shareCommonSubexpressions(graph: Graph): Graph {
  const replacement = new Map<ValueId, ValueId>();
  const resolve = (id: ValueId): ValueId => replacement.get(id) ?? id;
  const overwritten = new Set(graph.nodes.flatMap((node) => node.overwrites.map((o) => node.inputs[o.input]!)));
  const seen = new Map<string, Node>();
  const nodes: Node[] = [];
  for (const original of graph.nodes) {
    const node = { ...original, inputs: original.inputs.map(resolve) };
    // A value that is overwritten later has other bytes afterwards: neither it nor its readers may be shared.
    const pure = node.effect !== true && node.overwrites.length === 0 && ![...node.inputs, ...node.outputs].some((id) => overwritten.has(id)) && !node.outputs.some((id) => graph.values[id]!.persistent);
    const key = pure ? JSON.stringify([node.op, node.inputs, Object.entries(node.attrs).sort(([a], [b]) => (a < b ? -1 : 1))]) : undefined;
    const twin = key === undefined ? undefined : seen.get(key);
    if (twin !== undefined) {
      node.outputs.forEach((id, index) => replacement.set(id, twin.outputs[index]!));
      continue;
    }
    if (key !== undefined) seen.set(key, node);
    nodes.push(node);
  }
  const outputs = Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, resolve(id)]));
  return { ...graph, nodes, outputs };
}

/** A graph as text, one line per input and per node, for people and for comparing two compilations. */

import { valueOf, type Graph, type Node, type ValueId } from './graph.ts';
import { formatType } from './shape.ts';

/**
 * `%7 f32[2,8,16] layers.0/matmul_nt = matmul_nt(%3, %5; bias=0)  forward layers.0`; `=> %3` behind an output tells that it lives in
 * the bytes of %3, and `*` marks persistent values.
 */
export function printGraph(graph: Graph): string {
  const inputs = graph.inputs.map((id) => `${describe(graph, id)}: ${valueOf(graph, id).storage}`);
  const nodes = graph.nodes.map((node) => printNode(graph, node));
  const outputs = Object.entries(graph.outputs).map(([name, id]) => `output ${name} = %${id}`);
  return [...inputs, ...nodes, ...outputs].join('\n');
}

export function printNode(graph: Graph, node: Node): string {
  const made = node.outputs.map((id, index) => {
    const over = node.overwrites.find((overwrite) => overwrite.output === index);
    const input = over === undefined ? undefined : node.inputs[over.input];
    return describe(graph, id) + (input === undefined ? '' : ` => %${input}`);
  });
  const attrs = Object.entries(node.attrs).map(([name, value]) => `${name}=${value}`);
  const operands = node.inputs.map((id) => `%${id}`).join(', ');
  const given = attrs.length === 0 ? operands : `${operands}${operands === '' ? '' : '; '}${attrs.join(' ')}`;
  return `${made.join(', ')} = ${node.op}(${given})  ${node.phase}${node.scope === '' ? '' : ` ${node.scope}`}`;
}

function describe(graph: Graph, id: ValueId): string {
  const value = valueOf(graph, id);
  return `%${id} ${formatType(value)} ${value.name}${value.persistent ? '*' : ''}`;
}

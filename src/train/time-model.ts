/** The time model of a run: what was measured on this machine, or a plain guess. */

import type { TimeModel } from '../compile/planned-run.ts';
import { bytesMoved, opOf } from '../ops/index.ts';

export function timeModel(): TimeModel {
  const nodeMs: TimeModel['nodeMs'] = (op, inputs, outputs, attrs) =>
    0.002 + (opOf(op).bound === 'compute' ? opOf(op).flops(inputs, outputs, attrs) / 170e6 : bytesMoved(op, inputs, outputs, attrs) / 12e6);
  return {
    nodeMs,
    graphMs: (graph) => graph.nodes.reduce((sum, node) => sum + nodeMs(node.op, node.inputs.map((id) => graph.values[id]!), node.outputs.map((id) => graph.values[id]!), node.attrs), 0),
  };
}

/**
 * Optimizer in backward (Lv et al. 2023, "LOMO"): each parameter changes as soon as its gradient is complete and nobody reads the old weights any
 * more, so gradients never all exist. Where an update waits for all gradients (clipping by the global norm, the finite check of loss scaling),
 * backward runs twice: once for the norm alone, its gradients dropped as they come, and once to update.
 */

import type { Graph, Node, Value, ValueId } from '../graph/graph.ts';
import { consumers, descendants } from '../graph/walk.ts';
import type { UpdateChoice } from '../run/training-plan.ts';
import type { Technique } from './technique.ts';

export const updateTime: Technique<UpdateChoice> = {
  name: 'optimizer in backward',
  field: 'update',
  keys: ['optimizer_in_backward'],
  of: (plan) => plan.update,
  into: (plan, value) => ({ ...plan, update: value }),
  values: ({ settings }) => {
    if (settings.optimizer_in_backward === undefined) return ['after-backward', 'in-backward'];
    return [settings.optimizer_in_backward ? 'in-backward' : 'after-backward'];
  },
  neverFaster: true,
  numerics: () => 'bitwise',
  conflict: (value, { batch, packing }) => {
    if (value !== 'in-backward') return undefined;
    if (batch.accumulationSteps > 1) return `gradients are summed over ${batch.accumulationSteps} micro-batches before the update, so they all exist`;
    if (packing.rowLengths.length > 1) return `rows of ${packing.rowLengths.length} lengths go through as micro-batches of their own, so gradients are summed before the update`;
    return undefined;
  },
  explain: (value) =>
    value === 'in-backward'
      ? { value: 'each parameter is updated as its gradient completes', brief: 'optimizer in backward', saves: 'gradients: 4 bytes per trained parameter', costs: 'with clipping or loss scaling a second backward pass' }
      : { value: 'after backward', saves: 'nothing', costs: 'nothing' },
  action: { stage: 'step', rewrite: (value, graph) => (value === 'in-backward' ? updateInBackward(graph) : graph) },
};

function updateInBackward(graph: Graph): Graph {
  const updates = graph.nodes.filter(({ phase }) => phase === 'update');
  if (updates.length === 0 || !graph.nodes.some(({ phase }) => phase === 'backward')) return graph;
  const norm = updates.find(({ op }) => op === 'global_norm');
  const waiting = norm === undefined ? new Set<ValueId>() : descendants(graph, norm.outputs);
  const waits = updates.some((node) => node !== norm && node.inputs.some((id) => waiting.has(id)));
  return waits ? hoistUpdates(withNormPass(graph), (node) => !isNorm(node)) : hoistUpdates(graph, () => true);
}

function isNorm({ op }: Node): boolean {
  return op === 'sum_squares' || op === 'global_norm';
}

/** Backward once more in front, only for the gradient norm; the loss is read from there. */
function withNormPass(graph: Graph): Graph {
  const isBackward = ({ phase }: Node): boolean => phase === 'backward' || phase === 'recompute';
  const values: Value[] = [...graph.values];
  const first = new Map<ValueId, ValueId>();
  const inFirst = (id: ValueId): ValueId => first.get(id) ?? id;
  const copy = (node: Node): Node => {
    const inputs = node.inputs.map(inFirst);
    const outputs = node.outputs.map((id) => {
      const value = values[id]!;
      const twin: Value = { ...value, id: values.length, name: `${value.name}, norm pass` };
      values.push(twin);
      first.set(id, twin.id);
      return twin.id;
    });
    return { ...node, inputs, outputs };
  };
  const forward = graph.nodes.filter(({ phase }) => phase === 'forward');
  const backward = graph.nodes.filter(isBackward);
  const updates = graph.nodes.filter(({ phase }) => phase === 'update');
  const normPass = backward.map(copy);
  const norm = updates.filter(isNorm).map((node) => ({ ...node, inputs: node.inputs.map(inFirst) }));
  const outputs = Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, inFirst(id)]));
  return { ...graph, values, nodes: [...forward, ...hoisted(normPass, norm, values), ...backward, ...updates.filter((node) => !isNorm(node))], outputs };
}

function hoistUpdates(graph: Graph, moves: (node: Node) => boolean): Graph {
  const isMoved = (node: Node): boolean => node.phase === 'update' && moves(node);
  return { ...graph, nodes: hoisted(graph.nodes.filter((node) => !isMoved(node)), graph.nodes.filter(isMoved), graph.values) };
}

/**
 * The nodes `moved` each as early among `fixed` as they can be: after what they read is made and, where they overwrite a value, after all its other
 * readers.
 */
function hoisted(fixed: readonly Node[], moved: readonly Node[], values: readonly Value[]): readonly Node[] {
  const all = [...fixed, ...moved];
  const made = new Map<ValueId, Node>();
  for (const node of all) for (const id of node.outputs) made.set(id, node);
  const readers = consumers({ values, nodes: all, inputs: [], outputs: {}, constants: {} });
  const needs = new Map<Node, Set<Node>>();
  for (const node of moved) {
    const before = new Set(node.inputs.flatMap((id) => made.get(id) ?? []));
    for (const { input } of node.overwrites) for (const position of readers.get(node.inputs[input]!) ?? []) before.add(all[position]!);
    before.delete(node);
    needs.set(node, before);
  }
  const dependents = new Map<Node, Node[]>();
  for (const [node, before] of needs) {
    for (const other of before) {
      const list = dependents.get(other);
      if (list === undefined) dependents.set(other, [node]);
      else list.push(node);
    }
  }
  const order: Node[] = [];
  const emit = (node: Node): void => {
    order.push(node);
    for (const next of dependents.get(node) ?? []) {
      const before = needs.get(next)!;
      before.delete(node);
      if (before.size === 0) emit(next);
    }
  };
  const free = moved.filter((node) => needs.get(node)!.size === 0);
  for (const node of free) emit(node);
  for (const node of fixed) emit(node);
  return order;
}

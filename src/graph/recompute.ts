/** Saved activations: which there are, and how a graph looks that drops some of them and makes them again for backward. */

import type { Graph, Node, Value, ValueId } from './graph.ts';
import { byteCount } from './shape.ts';
import { producers } from './walk.ts';

export interface SavedActivation {
  readonly value: Value;
  /** The forward node that makes it. */
  readonly node: Node;
  /** Layer number, for values of a repeated block. */
  readonly layer: number | undefined;
  /** The same in every layer: path within the layer and op, such as `mlp/swiglu`. */
  readonly kind: string;
  /** Read by another layer in forward: the input of a block. */
  readonly crossesLayers: boolean;
  readonly bytes: number;
}

const LAYER = /^layers\.(\d+)(?:\.(.*))?$/;

interface Place {
  readonly layer: number | undefined;
  /** Path within the layer. */
  readonly inside: string;
}

/** Scopes are few and asked for at every edge of large graphs. */
const places = new Map<string, Place>();

function placeOf(scope: string): Place {
  let place = places.get(scope);
  if (place === undefined) {
    const [, layer, inside] = LAYER.exec(scope) ?? [];
    place = layer === undefined ? { layer: undefined, inside: scope } : { layer: Number(layer), inside: inside ?? '' };
    places.set(scope, place);
  }
  return place;
}

/** The layer that a scope lies in. */
export function layerOf(scope: string): number | undefined {
  return placeOf(scope).layer;
}

/** Values that forward makes and a later phase reads, in the order in which they are made. */
export function savedActivations(graph: Graph): readonly SavedActivation[] {
  const known = savedOf.get(graph);
  if (known !== undefined) return known;
  const saved = findSaved(graph);
  savedOf.set(graph, saved);
  return saved;
}

const savedOf = new WeakMap<Graph, readonly SavedActivation[]>();

function findSaved(graph: Graph): readonly SavedActivation[] {
  const made = new Map<ValueId, Node>();
  const saved = new Set<ValueId>();
  const crossing = new Set<ValueId>();
  for (const node of graph.nodes) {
    if (node.phase === 'forward') for (const id of node.outputs) made.set(id, node);
    for (const id of node.inputs) {
      const maker = made.get(id);
      if (maker === undefined) continue;
      if (node.phase !== 'forward') saved.add(id);
      else if (layerOf(node.scope) !== layerOf(maker.scope)) crossing.add(id);
    }
  }
  return [...made].filter(([id]) => saved.has(id)).map(([id, node]) => {
    const value = graph.values[id]!;
    const { layer, inside } = placeOf(node.scope);
    return { value, node, layer, kind: `${inside}/${node.op}`, crossesLayers: crossing.has(id), bytes: byteCount(value) };
  });
}

/** Ends the name of a value that is made once more. */
const AGAIN = ', again';

/**
 * Drops the saved activations `dropped`: before the first node that reads one after forward, the nodes that made it run again (and those that
 * made what they read, as far back as to what is still there). Each runs again at most once. The same ops on the same inputs: the same bits.
 */
export function recompute(graph: Graph, dropped: ReadonlySet<ValueId>): Graph {
  if (dropped.size === 0) return graph;
  const maker = producers(graph);
  const saved = new Set(savedActivations(graph).map(({ value }) => value.id));
  const values: Value[] = [...graph.values];
  const nodes: Node[] = [];
  const again = new Map<ValueId, ValueId>();

  const forwardMaker = (id: ValueId): Node | undefined => {
    const position = maker.get(id);
    const node = position === undefined ? undefined : graph.nodes[position];
    return node?.phase === 'forward' ? node : undefined;
  };
  const isThere = (id: ValueId): boolean => forwardMaker(id) === undefined || (saved.has(id) && !dropped.has(id));

  function available(id: ValueId): ValueId {
    if (isThere(id)) return id;
    const known = again.get(id);
    if (known !== undefined) return known;
    const node = forwardMaker(id)!;
    const inputs = node.inputs.map(available);
    const outputs = node.outputs.map((output) => {
      const value = values[output]!;
      const copy: Value = { ...value, id: values.length, name: `${value.name}${AGAIN}`, storage: 'activation' };
      values.push(copy);
      if (!isThere(output)) again.set(output, copy.id);
      return copy.id;
    });
    nodes.push({ ...node, inputs, outputs, phase: 'recompute' });
    return again.get(id)!;
  }

  for (const node of graph.nodes) {
    // A node that stays as it is stays the same object: whoever knows its cost knows it still.
    if (node.phase === 'forward' || !node.inputs.some((id) => dropped.has(id))) nodes.push(node);
    else {
      const inputs = node.inputs.map((id) => (dropped.has(id) ? available(id) : id));
      nodes.push({ ...node, inputs });
    }
  }
  return { ...graph, values, nodes };
}

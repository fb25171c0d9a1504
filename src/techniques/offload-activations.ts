/**
 * Kept activations of the first layers in the file: written when they are made, read back a layer before backward wants them. What backward gets is
 * what forward made, byte for byte.
 */

import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Node, Value, ValueId } from '../graph/graph.ts';
import { byteCount } from '../graph/shape.ts';
import { consumers } from '../graph/walk.ts';
import { shapeRules } from '../ops/index.ts';
import { offloadFlush, offloadRead, offloadWait, offloadWrite } from '../ops/offload.ts';
import { at } from '../ops/rules.ts';
import { nodesOf, OFFLOAD_LIMITS, type OffloadLimits } from './offload-schedule.ts';

/** A forward value that leaves memory between its maker and backward. Positions in the schedule before the rewrite. */
interface Saved {
  readonly value: Value;
  readonly madeAt: number;
  readonly layer: number;
  /** Its first reader that is not forward work. */
  readonly neededAt: number;
}

/** The layer of a model path, such as 3 of `layers.3.attention` and `h.3`. */
function layerOf(scope: string): number | undefined {
  const digits = /(?:^|\.)(?:layers|h)\.(\d+)(?:\.|$)/.exec(scope)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The graph with the saved activations of the first `layers` layers in the file; one without backward comes back as it is. */
export function offloadActivations(graph: Graph, layers: number, limits: OffloadLimits = OFFLOAD_LIMITS): Graph {
  const saved = savedValues(graph, layers, limits);
  if (saved.length === 0) return graph;
  const builder = GraphBuilder.from(graph, shapeRules);
  const forwardEnds = lastForwardPositions(graph);
  const lastLayer = Math.max(...forwardEnds.keys());
  const readBack = new Map<ValueId, ValueId>();
  const behind = new Map<number, Node[]>();
  const begun = new Map<number, Node[]>();
  const awaited = new Map<number, Node[]>();
  const put = (place: Map<number, Node[]>, position: number, nodes: readonly Node[]): void => void place.set(position, [...(place.get(position) ?? []), ...nodes]);

  for (const { value, madeAt, layer, neededAt } of saved) {
    const place = { region: builder.region(value), at: 0 };
    const written = nodesOf(builder, { scope: value.scope, phase: 'forward' }, () => void offloadWrite(builder, value.id, place));
    const token = at(at(written, 0).outputs, 0);
    const flushed = nodesOf(builder, { scope: value.scope, phase: 'forward' }, () => void offloadFlush(builder, value.id, token));
    const after = at(at(flushed, 0).outputs, 0);
    const read = nodesOf(builder, { scope: value.scope, phase: 'backward' }, () => void offloadRead(builder, value, place, { after, storage: 'activation' }));
    const buffer = at(at(read, 0).outputs, 0);
    const waited = nodesOf(builder, { scope: value.scope, phase: 'backward' }, () => void readBack.set(value.id, offloadWait(builder, buffer)));
    const completeAt = Math.min(Math.max(madeAt, forwardEnds.get(Math.min(layer + limits.depth, lastLayer)) ?? madeAt), neededAt - 1);
    put(behind, madeAt, written);
    put(behind, completeAt, flushed);
    put(begun, Math.max(completeAt + 1, readAt(graph, neededAt)), read);
    put(awaited, neededAt, waited);
  }

  const nodes = graph.nodes.flatMap((node, position) => {
    const inputs = node.phase === 'forward' ? node.inputs : node.inputs.map((id) => readBack.get(id) ?? id);
    return [...(begun.get(position) ?? []), ...(awaited.get(position) ?? []), { ...node, inputs }, ...(behind.get(position) ?? [])];
  });
  return { ...builder.finish(), nodes };
}

function savedValues(graph: Graph, layers: number, limits: OffloadLimits): readonly Saved[] {
  const readers = consumers(graph);
  const outputs = new Set(Object.values(graph.outputs));
  return graph.nodes.flatMap((node, madeAt) => {
    const layer = layerOf(node.scope);
    if (node.phase !== 'forward' || layer === undefined || layer >= layers) return [];
    return node.outputs.flatMap((id): readonly Saved[] => {
      const value = at(graph.values, id);
      const neededAt = readers.get(id)?.find((position) => at(graph.nodes, position).phase !== 'forward');
      const stays = value.persistent || outputs.has(id) || byteCount(value) < limits.leastActivationBytes;
      return stays || neededAt === undefined ? [] : [{ value, madeAt, layer, neededAt }];
    });
  });
}

/** The last forward position of each layer. */
function lastForwardPositions(graph: Graph): ReadonlyMap<number, number> {
  const ends = new Map<number, number>();
  graph.nodes.forEach(({ scope, phase }, position) => {
    const layer = phase === 'forward' ? layerOf(scope) : undefined;
    if (layer !== undefined) ends.set(layer, position);
  });
  return ends;
}

/** Where the read for the node at `neededAt` begins: where backward enters the layer that comes before in its order, or where backward begins. */
function readAt(graph: Graph, neededAt: number): number {
  const layer = layerOf(at(graph.nodes, neededAt).scope);
  const entered = layer === undefined ? -1 : graph.nodes.findIndex(({ scope, phase }) => phase !== 'forward' && layerOf(scope) === layer + 1);
  const begins = entered === -1 ? graph.nodes.findIndex(({ phase }) => phase !== 'forward') : entered;
  return Math.min(begins, neededAt);
}

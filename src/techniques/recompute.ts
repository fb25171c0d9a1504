/**
 * Activation recompute (Chen et al. 2016), per kind of saved activation: the first layers drop theirs and make them again in backward. The copy
 * runs the same kernels on the same inputs, so it has the same bits.
 */

import type { Graph, ValueId } from '../graph/graph.ts';
import { layerOf, recompute as recomputed, savedActivations, type SavedActivation } from '../graph/recompute.ts';
import { opOf } from '../ops/index.ts';
import type { RecomputeChoice } from '../run/training-plan.ts';
import type { StepContext, Technique } from './technique.ts';

/** Never kept, whatever the choice: the input of the feed-forward part is one pass over the residual away. */
const ALWAYS_DROPPED = /^mlp\/(rms|layer)norm$/;

export const recompute: Technique<RecomputeChoice> = {
  name: 'recompute',
  field: 'recompute',
  keys: ['gradient_checkpointing'],
  of: (plan) => plan.recompute,
  into: (plan, value) => ({ ...plan, recompute: value }),
  values: ({ settings, step }) => {
    if (step === undefined || settings.gradient_checkpointing === false) return [{ dropped: [] }];
    if (settings.gradient_checkpointing === true) return [blockInputsOnly(step)];
    return candidates(step);
  },
  proposes: true,
  layers: {
    cuts: ({ dropped }) => dropped.map(({ layers }) => layers),
    moved: ({ dropped }, to) => ({ dropped: dropped.map((drop) => ({ ...drop, layers: to(drop.layers) })) }),
    reach: () => 0,
  },
  numerics: () => 'bitwise',
  conflict: () => undefined,
  explain: ({ dropped }) => {
    if (dropped.length === 0) return { value: 'nothing: all that backward reads is kept', saves: 'nothing', costs: 'nothing' };
    return {
      value: describe(dropped, (names, layers) => `${names.join(', ')} of ${layers === 1 ? 'the first layer' : `the first ${layers} layers`}`),
      brief: `recompute of ${describe(dropped, (names, layers) => `${names.length === 1 ? names[0] : `${names.length} kinds`} × ${layers}`)}`,
      saves: 'the bytes of these activations', costs: 'the time to make them once more',
    };
  },
  action: {
    stage: 'step',
    rewrite: ({ dropped }, graph) => {
      const layers = new Map(dropped.map((drop) => [drop.value, drop.layers]));
      const gone = droppable(graph).filter(({ kind, layer }) => ALWAYS_DROPPED.test(kind) || layer < (layers.get(kind) ?? 0));
      return recomputed(graph, new Set(gone.map(({ value }) => value.id)));
    },
  },
};

/** Kinds that are dropped in the same layers together. */
function describe(dropped: RecomputeChoice['dropped'], group: (names: readonly string[], layers: number) => string): string {
  const counts = [...new Set(dropped.map(({ layers }) => layers))];
  return counts.map((layers) => group(dropped.filter((drop) => drop.layers === layers).map(({ value }) => value), layers)).join('; ');
}

type Droppable = SavedActivation & { readonly layer: number };

/** Saved activations inside layers; what one layer hands to the next stays. */
function droppable(graph: Graph): readonly Droppable[] {
  return savedActivations(graph).filter((saved): saved is Droppable => saved.layer !== undefined && !saved.crossesLayers);
}

function kindsOf(graph: Graph): readonly string[] {
  return [...new Set(droppable(graph).map(({ kind }) => kind))].filter((kind) => !ALWAYS_DROPPED.test(kind));
}

function layerCount(graph: Graph): number {
  return droppable(graph).reduce((most, { layer }) => Math.max(most, layer + 1), 0);
}

/** What `gradient_checkpointing: true` means everywhere: of each layer only its input is kept. */
function blockInputsOnly({ graph, layers }: StepContext): RecomputeChoice {
  return { dropped: kindsOf(graph).map((value) => ({ value, layers })) };
}

/**
 * From everything kept to block inputs only: kind after kind, the cheapest milliseconds per byte first, and within a kind from the first layer
 * on, whose activations live longest. The list does not depend on any budget, so a larger one is never predicted slower.
 */
function candidates({ graph, layers, nodeMs }: StepContext): readonly RecomputeChoice[] {
  const list: RecomputeChoice[] = [{ dropped: [] }];
  const done: { value: string; layers: number }[] = [];
  for (const kind of cheapestFirst({ graph, nodeMs })) {
    for (let count = 1; count <= layers; count++) list.push({ dropped: [...done, { value: kind, layers: count }] });
    done.push({ value: kind, layers });
  }
  return list;
}

/** The kinds in the order in which dropping one more costs least per byte, counted on the second layer (or the only one). */
function cheapestFirst({ graph: whole, nodeMs }: Pick<StepContext, 'graph' | 'nodeMs'>): readonly string[] {
  const typical = Math.min(1, layerCount(whole) - 1);
  // One layer is enough to count on, and much less to rewrite over and over.
  const graph: Graph = { ...whole, nodes: whole.nodes.filter(({ scope }) => layerOf(scope) === typical) };
  const inLayer = droppable(whole).filter(({ layer }) => layer === typical);
  const left = new Set(kindsOf(whole));
  const dropped = new Set(inLayer.filter(({ kind }) => ALWAYS_DROPPED.test(kind)).map(({ value }) => value.id));
  const order: string[] = [];
  let spent = recomputeMs(graph, dropped, nodeMs);
  while (left.size > 0) {
    let best: { kind: string; price: number; spent: number; ids: readonly ValueId[] } | undefined;
    for (const kind of left) {
      const of = inLayer.filter((saved) => saved.kind === kind);
      const ids = of.map(({ value }) => value.id);
      const total = recomputeMs(graph, new Set([...dropped, ...ids]), nodeMs);
      const price = (total - spent) / Math.max(1, of.reduce((sum, { bytes }) => sum + bytes, 0));
      if (best === undefined || price < best.price) best = { kind, price, spent: total, ids };
    }
    order.push(best!.kind);
    left.delete(best!.kind);
    for (const id of best!.ids) dropped.add(id);
    spent = best!.spent;
  }
  return order;
}

function recomputeMs(graph: Graph, dropped: ReadonlySet<ValueId>, nodeMs: StepContext['nodeMs']): number {
  const after = recomputed(graph, dropped);
  return after.nodes.filter(({ phase }) => phase === 'recompute').reduce((sum, node) => sum + nodeMs(after, node), 0);
}

/** Whether a kind is made by an op that is bound by memory: a pointwise value, cheap to make again. */
export function isPointwise(kind: string): boolean {
  return opOf(kind.split('/').at(-1)!).bound === 'memory';
}

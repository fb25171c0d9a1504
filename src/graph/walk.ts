/** Questions about who makes and who reads what, for passes, techniques and checks. */

import type { Graph, Node, ValueId } from './graph.ts';

/** The position of the node that makes each value; graph inputs have none. */
export function producers(graph: Graph): ReadonlyMap<ValueId, number> {
  const made = new Map<ValueId, number>();
  graph.nodes.forEach((node, position) => {
    for (const id of node.outputs) made.set(id, position);
  });
  return made;
}

/** The positions of the nodes that read each value, ascending, each once; values that nobody reads are absent. */
export function consumers(graph: Graph): ReadonlyMap<ValueId, readonly number[]> {
  const readers = new Map<ValueId, number[]>();
  graph.nodes.forEach((node, position) => {
    for (const id of new Set(node.inputs)) {
      const list = readers.get(id);
      if (list === undefined) readers.set(id, [position]);
      else list.push(position);
    }
  });
  return readers;
}

/** The position of the node that overwrites each value, and which of its outputs does. */
export function overwriters(graph: Graph): ReadonlyMap<ValueId, { readonly position: number; readonly by: ValueId }> {
  const over = new Map<ValueId, { position: number; by: ValueId }>();
  graph.nodes.forEach((node, position) => {
    for (const { input, output } of node.overwrites) {
      const [from, by] = [node.inputs[input], node.outputs[output]];
      if (from !== undefined && by !== undefined) over.set(from, { position, by });
    }
  });
  return over;
}

/** The values that `from` depends on, itself included. */
export function ancestors(graph: Graph, from: Iterable<ValueId>): ReadonlySet<ValueId> {
  const found = new Set(from);
  for (const node of graph.nodes.toReversed()) {
    if (node.outputs.some((id) => found.has(id))) for (const id of node.inputs) found.add(id);
  }
  return found;
}

/** The values that depend on `from`, itself included. */
export function descendants(graph: Graph, from: Iterable<ValueId>): ReadonlySet<ValueId> {
  const found = new Set(from);
  for (const node of graph.nodes) {
    if (node.inputs.some((id) => found.has(id))) for (const id of node.outputs) found.add(id);
  }
  return found;
}

/**
 * The nodes that matter, in order: those that lead to an output of the graph, and those that change a persistent value. A node that makes a new
 * persistent value (a kept gradient) matters too, for a later program reads it, and one with an effect outside.
 */
export function liveNodes({ nodes, values, outputs }: Graph): readonly Node[] {
  const used = new Uint8Array(values.length);
  for (const id of Object.values(outputs)) used[id] = 1;
  for (const { id, persistent } of values) if (persistent) used[id] = 1;
  const live: Node[] = [];
  for (let position = nodes.length - 1; position >= 0; position--) {
    const node = nodes[position]!;
    if (node.effect !== true && !node.outputs.some((id) => used[id] === 1)) continue;
    live.push(node);
    for (const id of node.inputs) used[id] = 1;
  }
  return live.length === nodes.length ? nodes : live.reverse();
}

/**
 * The nodes in an order in which every value is made before it is read and read before it is overwritten; among the nodes that are
 * ready the earliest goes first, so an order that already holds is kept. Throws when there is no such order.
 */
export function topologicalOrder(graph: Graph): readonly Node[] {
  const made = producers(graph);
  const readers = consumers(graph);
  const before = graph.nodes.map((node, position) => {
    const first = new Set<number>();
    for (const id of node.inputs) {
      const maker = made.get(id);
      if (maker !== undefined) first.add(maker);
    }
    for (const { input } of node.overwrites) {
      const old = node.inputs[input];
      const others = old === undefined ? [] : (readers.get(old) ?? []);
      for (const reader of others) if (reader !== position) first.add(reader);
    }
    return first;
  });
  const after = graph.nodes.map((): number[] => []);
  before.forEach((first, position) => {
    for (const other of first) after[other]?.push(position);
  });
  const waits = before.map((first) => first.size);
  const ready = new MinHeap();
  waits.forEach((count, position) => {
    if (count === 0) ready.push(position);
  });
  const order: Node[] = [];
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    const node = graph.nodes[next];
    if (node !== undefined) order.push(node);
    for (const later of after[next] ?? []) {
      const left = (waits[later] ?? 0) - 1;
      waits[later] = left;
      if (left === 0) ready.push(later);
    }
  }
  if (order.length !== graph.nodes.length) throw new Error(`${graph.nodes.length - order.length} of ${graph.nodes.length} nodes wait for one another`);
  return order;
}

/** The smallest number first. */
class MinHeap {
  private readonly items: number[] = [];

  push(item: number): void {
    let place = this.items.length;
    this.items.push(item);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if ((this.items[parent] ?? 0) <= item) break;
      this.items[place] = this.items[parent] ?? item;
      place = parent;
    }
    this.items[place] = item;
  }

  pop(): number | undefined {
    const top = this.items[0];
    const last = this.items.pop();
    if (last === undefined || this.items.length === 0) return top;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.items.length) break;
      if (child + 1 < this.items.length && (this.items[child + 1] ?? 0) < (this.items[child] ?? 0)) child++;
      if ((this.items[child] ?? 0) >= last) break;
      this.items[place] = this.items[child] ?? last;
      place = child;
    }
    this.items[place] = last;
    return top;
  }
}

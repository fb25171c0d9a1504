/**
 * Live ranges: for each block of bytes, the schedule positions from its first write to its last use. Values that overwrite one another
 * share one block, whose range covers them all.
 */

import type { Graph, Node, ValueId } from '../graph/graph.ts';
import { byteCount } from '../graph/shape.ts';
import type { StorageClass } from '../run/storage-class.ts';

/** A block of bytes that needs a place. Positions count nodes; a block is live from `birth` to `death`, both included. */
export interface LiveRange {
  /** The first value in these bytes; for scratch, a name of its own. */
  readonly name: string;
  readonly scope: string;
  readonly bytes: number;
  readonly storage: StorageClass;
  readonly birth: number;
  readonly death: number;
}

export interface Liveness {
  /** Transient blocks only: persistent values live always and elsewhere. */
  readonly ranges: readonly LiveRange[];
  /** Index into `ranges` of each transient value, by value id. */
  readonly rangeOf: ReadonlyMap<ValueId, number>;
  /** Index into `ranges` of each node's scratch, by node position. */
  readonly scratchOf: ReadonlyMap<number, number>;
  /** Persistent values: the value that first holds the bytes, by value id. */
  readonly persistentRoot: ReadonlyMap<ValueId, ValueId>;
}

/** For each value, the value whose bytes it took over first: the end of its chain of overwrites. */
export function rootsOf(graph: Pick<Graph, 'values' | 'nodes'>): ArrayLike<ValueId> {
  const root = new Int32Array(graph.values.length);
  for (let id = 0; id < root.length; id++) root[id] = id;
  for (const node of graph.nodes) {
    for (const { output, input } of node.overwrites) root[node.outputs[output]!] = root[node.inputs[input]!]!;
  }
  return root;
}

export interface Lifetimes {
  readonly root: ArrayLike<ValueId>;
  /** First and last position of the block whose root a value is; -1 for what nothing makes or uses, and for other values. */
  readonly birth: Int32Array;
  readonly death: Int32Array;
}

/** Inputs live from the start, outputs to the end. */
export function lifetimesOf({ values, nodes, inputs, outputs }: Graph): Lifetimes {
  const root = rootsOf({ values, nodes });
  const birth = new Int32Array(values.length).fill(-1);
  const death = new Int32Array(values.length).fill(-1);
  const touch = (id: ValueId, position: number): void => {
    const block = root[id]!;
    if (birth[block] === -1) birth[block] = position;
    death[block] = position;
  };
  for (const id of inputs) touch(id, 0);
  nodes.forEach((node, position) => {
    for (const id of node.inputs) touch(id, position);
    for (const id of node.outputs) touch(id, position);
  });
  for (const id of Object.values(outputs)) touch(id, nodes.length);
  return { root, birth, death };
}

/** Live ranges of `graph` with the given scratch per node. */
export function liveness(graph: Graph, workspaceBytes: (node: Node) => number): Liveness {
  const { root, birth, death } = lifetimesOf(graph);
  const spansBackward = new Uint8Array(graph.values.length);
  const bornForward = new Uint8Array(graph.values.length);
  for (const { phase, inputs, outputs } of graph.nodes) {
    if (phase === 'forward') for (const id of outputs) bornForward[id] = 1;
    else for (const id of inputs) if (bornForward[id] === 1) spansBackward[root[id]!] = 1;
  }

  const ranges: LiveRange[] = [];
  const rangeOf = new Map<ValueId, number>();
  const persistentRoot = new Map<ValueId, ValueId>();
  const blockRange = new Map<ValueId, number>();
  for (const value of graph.values) {
    const block = root[value.id]!;
    const first = graph.values[block]!;
    if (first.persistent) {
      persistentRoot.set(value.id, block);
      continue;
    }
    const [from, to] = [birth[block]!, death[block]!];
    if (from === -1) continue; // made and used by nothing: removed nodes
    let index = blockRange.get(block);
    if (index === undefined) {
      index = ranges.length;
      blockRange.set(block, index);
      const storage = first.storage === 'activation' && spansBackward[block] === 0 ? 'workspace' : first.storage;
      ranges.push({ name: first.name, scope: first.scope, bytes: byteCount(first), storage, birth: from, death: to });
    }
    rangeOf.set(value.id, index);
  }
  const scratchOf = new Map<number, number>();
  graph.nodes.forEach((node, position) => {
    const bytes = workspaceBytes(node);
    if (bytes === 0) return;
    scratchOf.set(position, ranges.length);
    ranges.push({ name: `scratch of ${node.op}`, scope: node.scope, bytes, storage: 'workspace', birth: position, death: position });
  });
  return { ranges, rangeOf, scratchOf, persistentRoot };
}

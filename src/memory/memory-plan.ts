/**
 * The memory plan of a run: persistent values once at the bottom of the arena, the transient values of each program above them. All
 * programs share the transient region, since only one runs at a time. The file beside the arena, if any, is laid out in the same way.
 */

import { alignUp } from '../base/bytes.ts';
import type { Attrs, Graph, Node, Value } from '../graph/graph.ts';
import { byteCount, formatType, sameShape, type TensorType } from '../graph/shape.ts';
import { placeRanges, peakLive, summedUp, type Placement } from './arena.ts';
import { checkPlacement } from './check.ts';
import { placeRegions, type FileBlock } from './file-layout.ts';
import { lifetimesOf, liveness, type Liveness } from './liveness.ts';

/** What the planner must know of a device: no device is needed to plan for it. */
export interface MemoryRules {
  readonly alignment: number;
  workspaceBytes(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
}

export interface PersistentBlock {
  readonly value: Value;
  readonly offset: number;
}

export interface ProgramMemory {
  readonly name: string;
  readonly graph: Graph;
  readonly liveness: Liveness;
  readonly placement: Placement;
  /** First byte in the file of each of the graph's regions. */
  readonly regionOffsets: readonly number[];
  /** Most transient bytes live at once, and the node at which. */
  readonly peakLiveBytes: number;
  readonly peakPosition: number;
}

export interface MemoryPlan {
  readonly alignment: number;
  readonly persistent: ReadonlyMap<string, PersistentBlock>;
  readonly persistentBytes: number;
  readonly programs: readonly ProgramMemory[];
  /** Bytes to reserve. */
  readonly arenaBytes: number;
  /** The lower bound: persistent bytes and the most transient bytes live at once. */
  readonly peakLiveBytes: number;
  /** The persistent values that live in the file, by name. */
  readonly filed: ReadonlyMap<string, FileBlock>;
  /** Bytes of the file; 0: the run needs none. */
  readonly fileBytes: number;
}

function endOf(persistent: ReadonlyMap<string, PersistentBlock>, alignment: number): number {
  let end = 0;
  for (const { offset, value } of persistent.values()) end = Math.max(end, offset + alignUp(byteCount(value), alignment));
  return end;
}

/**
 * Transient bytes of `graph` that live at each position, without placing anything: no arena is smaller than the most, and ours are hardly larger. The
 * last one counts what the host reads afterwards.
 */
export function liveBytes(graph: Graph, rules: MemoryRules): Float64Array {
  const { values, nodes } = graph;
  const { birth, death } = lifetimesOf(graph);
  const scratch = scratchOf(graph, rules);
  const change = new Float64Array(nodes.length + 2);
  values.forEach((value, id) => {
    if (value.persistent || birth[id] === -1) return;
    const bytes = alignUp(byteCount(value), rules.alignment);
    change[birth[id]!]! += bytes;
    change[death[id]! + 1]! -= bytes;
  });
  nodes.forEach((node, position) => {
    const bytes = alignUp(scratch(node), rules.alignment);
    change[position]! += bytes;
    change[position + 1]! -= bytes;
  });
  return summedUp(change).subarray(0, nodes.length + 1);
}

/** Bytes of each persistent value of `graph`, by name. */
export function persistentBlocks(graph: Graph, { alignment }: MemoryRules): ReadonlyMap<string, number> {
  return new Map(persistentValues(graph).map((value) => [value.name, alignUp(byteCount(value), alignment)]));
}

function liveRanges(graph: Graph, rules: MemoryRules): Liveness {
  return liveness(graph, scratchOf(graph, rules));
}

function scratchOf({ values }: Graph, rules: MemoryRules): (node: Node) => number {
  const types = (ids: Node['inputs']): readonly TensorType[] => ids.map((id) => values[id]!);
  return ({ op, inputs, outputs, attrs }) => rules.workspaceBytes(op, types(inputs), types(outputs), attrs);
}

/** Plans and checks the memory of all `graphs` of a run, by name. Values that share a persistent name share bytes. */
export function planMemory(graphs: Readonly<Record<string, Graph>>, rules: MemoryRules): MemoryPlan {
  const persistent = placePersistent(Object.values(graphs), rules.alignment);
  const persistentEnd = endOf(persistent, rules.alignment);
  const file = placeRegions(Object.values(graphs));
  const placing = Object.entries(graphs).map(([name, graph], index) => {
    const live = liveRanges(graph, rules);
    return { name, graph, index, live, peak: peakLive(live.ranges, rules.alignment) };
  });
  // The largest first: the others have all the room that it needs.
  const placements: Placement[] = [];
  let room = 0;
  for (const { live, index } of placing.toSorted((a, b) => b.peak.bytes - a.peak.bytes)) {
    const placement = placeRanges(live.ranges, rules.alignment, room);
    checkPlacement(live.ranges, placement, rules.alignment);
    placements[index] = placement;
    room = Math.max(room, placement.bytes);
  }
  const programs = placing.map(({ name, graph, index, live, peak }): ProgramMemory => ({
    name, graph, liveness: live, placement: placements[index]!, regionOffsets: file.offsets[index] ?? [], peakLiveBytes: peak.bytes, peakPosition: peak.position,
  }));
  const most = (pick: (program: ProgramMemory) => number): number => programs.reduce((max, program) => Math.max(max, pick(program)), 0);
  return {
    alignment: rules.alignment,
    persistent,
    persistentBytes: persistentEnd,
    programs,
    arenaBytes: persistentEnd + most((program) => program.placement.bytes),
    peakLiveBytes: persistentEnd + most((program) => program.peakLiveBytes),
    filed: file.persistent,
    fileBytes: file.bytes,
  };
}

/** Those that no node makes by overwriting another: one for each place. */
function persistentValues({ values, nodes }: Graph): readonly Value[] {
  const overwriting = new Uint8Array(values.length);
  for (const { overwrites, outputs } of nodes) for (const { output } of overwrites) overwriting[outputs[output]!] = 1;
  return values.filter((value) => value.persistent && overwriting[value.id] === 0);
}

function placePersistent(graphs: readonly Graph[], alignment: number): ReadonlyMap<string, PersistentBlock> {
  const blocks = new Map<string, PersistentBlock>();
  let offset = 0;
  for (const graph of graphs) {
    for (const value of persistentValues(graph)) {
      const known = blocks.get(value.name);
      if (known === undefined) {
        blocks.set(value.name, { value, offset });
        offset += alignUp(byteCount(value), alignment);
      } else if (known.value.dtype !== value.dtype || !sameShape(known.value.shape, value.shape)) {
        throw new Error(`persistent value '${value.name}' is ${formatType(known.value)} in one program and ${formatType(value)} in another`);
      }
    }
  }
  return blocks;
}

/** Byte offset of a value of `program` in the arena. */
export function offsetOf(plan: MemoryPlan, program: ProgramMemory, value: Value): number {
  const root = program.liveness.persistentRoot.get(value.id);
  if (root !== undefined) {
    const name = program.graph.values[root]!.name;
    const block = plan.persistent.get(name);
    if (block === undefined) throw new Error(`persistent value '${name}' has no place`);
    return block.offset;
  }
  const range = program.liveness.rangeOf.get(value.id);
  if (range === undefined) throw new Error(`value '${value.name}' has no place`);
  return plan.persistentBytes + program.placement.offsets[range]!;
}

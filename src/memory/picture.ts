/** Where every block of bytes lies and when: a memory plan as plain JSON data that a page can draw. Columns of integers and one table of texts keep it small. */

import { alignUp } from '../base/bytes.ts';
import { byteCount } from '../graph/shape.ts';
import type { Graph, Phase } from '../graph/graph.ts';
import { STORAGE_CLASSES, type StorageClass } from '../run/storage-class.ts';
import type { MemoryPlan, ProgramMemory } from './memory-plan.ts';
import { processBytesFor } from './report.ts';

/** Blocks of bytes as columns of one length: block i is the value `strings[names[i]]`, live from position births[i] to deaths[i], both included. */
export interface Rectangles {
  /** Into `MemoryPicture.strings`. */
  readonly names: readonly number[];
  /** Model path such as `layers.3.attention`, into `MemoryPicture.strings`. */
  readonly scopes: readonly number[];
  /** Into `MemoryPicture.storageClasses`. */
  readonly storages: readonly number[];
  readonly births: readonly number[];
  readonly deaths: readonly number[];
  /** Byte offset in the arena. */
  readonly offsets: readonly number[];
  /** Exact; a block takes up the next multiple of the alignment. */
  readonly bytes: readonly number[];
}

/** Nodes from position `from` to `to`, both included. */
export interface PhaseRange {
  readonly phase: Phase;
  readonly from: number;
  readonly to: number;
}

export interface ProgramPicture {
  readonly name: string;
  /** Neighbouring nodes of one phase are one range. */
  readonly phases: readonly PhaseRange[];
  /** `scope/op` of the node at each position, into `MemoryPicture.strings`. Position `nodes.length` is the end: what the host reads is still live there. */
  readonly nodes: readonly number[];
  /** Transient blocks, by birth. */
  readonly rectangles: Rectangles;
  readonly peakPosition: number;
  /** Persistent and transient bytes that are live at each position from 0 to `nodes.length`. */
  readonly liveBytes: readonly number[];
}

export interface MemoryPicture {
  readonly alignment: number;
  readonly arenaBytes: number;
  /** The persistent blocks fill [0, persistentBytes) of the arena; the transient ones of each program lie above. */
  readonly persistentBytes: number;
  readonly processBytes: number;
  readonly strings: readonly string[];
  readonly storageClasses: readonly StorageClass[];
  /** Live in every program from its first node to its end: `births` and `deaths` are empty. */
  readonly persistent: Rectangles;
  readonly programs: readonly ProgramPicture[];
}

/** The picture of `plan`; numbers are the plan's own. */
export function memoryPicture(plan: MemoryPlan): MemoryPicture {
  const strings = new Map<string, number>();
  const indexOf = (text: string): number => {
    const known = strings.get(text);
    if (known !== undefined) return known;
    strings.set(text, strings.size);
    return strings.size - 1;
  };
  const persistent = [...plan.persistent.values()].sort((a, b) => a.offset - b.offset);
  const programs = plan.programs.map((program) => programPicture(program, plan, indexOf));
  return {
    alignment: plan.alignment,
    arenaBytes: plan.arenaBytes,
    persistentBytes: plan.persistentBytes,
    processBytes: processBytesFor(plan.programs.reduce((sum, { graph }) => sum + graph.nodes.length, 0)),
    persistent: {
      names: persistent.map(({ value }) => indexOf(value.name)),
      scopes: persistent.map(({ value }) => indexOf(value.scope)),
      storages: persistent.map(({ value }) => STORAGE_CLASSES.indexOf(value.storage)),
      births: [], deaths: [],
      offsets: persistent.map(({ offset }) => offset),
      bytes: persistent.map(({ value }) => byteCount(value)),
    },
    programs,
    storageClasses: STORAGE_CLASSES,
    strings: [...strings.keys()],
  };
}

function programPicture(program: ProgramMemory, plan: MemoryPlan, indexOf: (text: string) => number): ProgramPicture {
  const { graph, liveness, placement } = program;
  const blocks = liveness.ranges.map((range, index) => ({ range, offset: plan.persistentBytes + placement.offsets[index]! }))
    .filter(({ range }) => range.bytes > 0)
    .sort((a, b) => a.range.birth - b.range.birth || a.offset - b.offset);
  return {
    name: program.name,
    phases: phaseRanges(graph),
    nodes: graph.nodes.map((node) => indexOf(node.scope === '' ? node.op : `${node.scope}/${node.op}`)),
    rectangles: {
      names: blocks.map(({ range }) => indexOf(range.name)),
      scopes: blocks.map(({ range }) => indexOf(range.scope)),
      storages: blocks.map(({ range }) => STORAGE_CLASSES.indexOf(range.storage)),
      births: blocks.map(({ range }) => range.birth),
      deaths: blocks.map(({ range }) => range.death),
      offsets: blocks.map(({ offset }) => offset),
      bytes: blocks.map(({ range }) => range.bytes),
    },
    peakPosition: program.peakPosition,
    liveBytes: liveBytes(program, plan),
  };
}

function phaseRanges({ nodes }: Graph): readonly PhaseRange[] {
  const ranges: PhaseRange[] = [];
  nodes.forEach(({ phase }, position) => {
    const open = ranges.at(-1);
    if (open?.phase === phase) ranges[ranges.length - 1] = { ...open, to: position };
    else ranges.push({ phase, from: position, to: position });
  });
  return ranges;
}

function liveBytes({ graph, liveness }: ProgramMemory, { persistentBytes, alignment }: MemoryPlan): readonly number[] {
  const change = new Float64Array(graph.nodes.length + 2);
  for (const { bytes, birth, death } of liveness.ranges) {
    change[birth]! += alignUp(bytes, alignment);
    change[death + 1]! -= alignUp(bytes, alignment);
  }
  let live = persistentBytes;
  return Array.from({ length: graph.nodes.length + 1 }, (_, position) => (live += change[position]!));
}

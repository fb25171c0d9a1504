/** Who holds the memory, by storage class and by layer, at the peak of the run: numbers for people, made from the plan alone. */

import { alignUp, KIB, MIB } from '../base/bytes.ts';
import { byteCount } from '../graph/shape.ts';
import { STORAGE_CLASSES, type StorageClass } from '../run/storage-class.ts';
import type { MemoryPlan, ProgramMemory } from './memory-plan.ts';

/**
 * Bytes that the process needs besides the arena: the runtime, its heap, the kernels' threads, staging buffers; and, per instruction, its form in
 * JavaScript and in C. Bounds measured on Linux with Node 20 to 24, no formula of what is in them; docs/experiments.md has the figures.
 */
const PROCESS_BYTES = 112 * MIB;
/** What Node 24 takes more than 20 and 22: the same run of the quickstart, 14 MiB. */
const PROCESS_BYTES_FROM_NODE_24 = 128 * MIB;
const INSTRUCTION_BYTES = 1.5 * KIB;

/** The bound for programs of so many instructions in all. */
export function processBytesFor(instructions: number): number {
  // Node names itself there from version 21 on; a browser, where plans are made too, has the bound of the older ones.
  const { navigator } = globalThis as { readonly navigator?: { readonly userAgent: string } };
  const major = Number(/^Node\.js\/(\d+)/.exec(navigator?.userAgent ?? '')?.[1] ?? 0);
  return alignUp((major >= 24 ? PROCESS_BYTES_FROM_NODE_24 : PROCESS_BYTES) + instructions * INSTRUCTION_BYTES, MIB);
}

function processBytesOf({ programs }: MemoryPlan): number {
  return processBytesFor(programs.reduce((sum, { graph }) => sum + graph.nodes.length, 0));
}

/** Arena and process: what the operating system will see at most. */
export function forecastBytes(plan: MemoryPlan): number {
  return plan.arenaBytes + processBytesOf(plan);
}

export interface MemoryGroup {
  /** `layers.0 … layers.29`, `embedding`, … */
  readonly name: string;
  readonly bytes: number;
  readonly byClass: Readonly<Partial<Record<StorageClass, number>>>;
}

export interface MemoryReport {
  readonly arenaBytes: number;
  readonly peakLiveBytes: number;
  /** (arenaBytes − peakLiveBytes) / arenaBytes. */
  readonly fragmentation: number;
  readonly processBytes: number;
  /** Size of the file beside the arena: room on disk, no memory. */
  readonly fileBytes: number;
  /** arenaBytes + processBytes. */
  readonly forecastBytes: number;
  /** Live bytes at the peak. */
  readonly classes: readonly { readonly storage: StorageClass; readonly bytes: number }[];
  readonly groups: readonly MemoryGroup[];
  readonly peak: { readonly program: string; readonly node: string };
  readonly programs: readonly { readonly name: string; readonly instructions: number; readonly transientBytes: number; readonly peakLiveBytes: number }[];
}

interface Holding {
  readonly storage: StorageClass;
  readonly scope: string;
  readonly bytes: number;
}

export function memoryReport(plan: MemoryPlan): MemoryReport {
  const peakProgram = plan.programs.reduce((most, program) => (program.peakLiveBytes > most.peakLiveBytes ? program : most));
  const holdings = [...persistentHoldings(plan), ...transientHoldings(peakProgram, plan.alignment)];
  const byClass = sumBy(holdings, (holding) => holding.storage);
  const processBytes = processBytesOf(plan);
  return {
    arenaBytes: plan.arenaBytes,
    peakLiveBytes: plan.peakLiveBytes,
    fragmentation: plan.arenaBytes === 0 ? 0 : (plan.arenaBytes - plan.peakLiveBytes) / plan.arenaBytes,
    processBytes,
    fileBytes: plan.fileBytes,
    forecastBytes: forecastBytes(plan),
    classes: STORAGE_CLASSES.filter((storage) => byClass.has(storage)).map((storage) => ({ storage, bytes: byClass.get(storage)! })),
    groups: groupLayers(holdings),
    peak: { program: peakProgram.name, node: nodeName(peakProgram) },
    programs: plan.programs.map((program) => ({
      name: program.name,
      instructions: program.graph.nodes.length,
      transientBytes: program.placement.bytes,
      peakLiveBytes: plan.persistentBytes + program.peakLiveBytes,
    })),
  };
}

function persistentHoldings(plan: MemoryPlan): readonly Holding[] {
  return [...plan.persistent.values()].map(({ value }) => ({ storage: value.storage, scope: value.scope, bytes: alignUp(byteCount(value), plan.alignment) }));
}

function transientHoldings(program: ProgramMemory, alignment: number): readonly Holding[] {
  const at = program.peakPosition;
  return program.liveness.ranges
    .filter((range) => range.birth <= at && at <= range.death)
    .map((range) => ({ storage: range.storage, scope: range.scope, bytes: alignUp(range.bytes, alignment) }));
}

function nodeName(program: ProgramMemory): string {
  const node = program.graph.nodes[program.peakPosition];
  return node === undefined ? 'end' : `${node.scope === '' ? '' : `${node.scope}/`}${node.op} (${node.phase})`;
}

function sumBy<K>(holdings: readonly Holding[], key: (holding: Holding) => K): Map<K, number> {
  const sums = new Map<K, number>();
  for (const holding of holdings) sums.set(key(holding), (sums.get(key(holding)) ?? 0) + holding.bytes);
  return sums;
}

/** `layers.3.mlp` belongs to `layers.3`; anything else to the first part of its path. */
function groupName(scope: string): string {
  const layer = /^(.*?\b(?:layers|h)\.\d+)(?:\.|$)/.exec(scope);
  return layer?.[1] ?? (scope === '' ? 'step' : scope.split('.')[0]!);
}

/** One line per group; neighbouring layers that hold the same bytes by class are folded into one. */
function groupLayers(holdings: readonly Holding[]): readonly MemoryGroup[] {
  const groups = new Map<string, Map<StorageClass, number>>();
  for (const { scope, storage, bytes } of holdings) {
    const name = groupName(scope);
    const classes = groups.get(name) ?? new Map<StorageClass, number>();
    groups.set(name, classes);
    classes.set(storage, (classes.get(storage) ?? 0) + bytes);
  }
  const lines = [...groups].map(([name, classes]) => ({
    name,
    bytes: [...classes.values()].reduce((sum, bytes) => sum + bytes, 0),
    byClass: Object.fromEntries(STORAGE_CLASSES.filter((s) => classes.has(s)).map((s) => [s, classes.get(s)!])) as Partial<Record<StorageClass, number>>,
  })).sort((a, b) => naturalOrder(a.name, b.name));
  const folded: { first: string; last: string; count: number; each: MemoryGroup }[] = [];
  for (const line of lines) {
    const open = folded.at(-1);
    if (open !== undefined && /\.\d+$/.test(line.name) && /\.\d+$/.test(open.last) && JSON.stringify(open.each.byClass) === JSON.stringify(line.byClass)) {
      open.last = line.name;
      open.count++;
    } else folded.push({ first: line.name, last: line.name, count: 1, each: line });
  }
  return folded.map(({ first, last, count, each }) => ({
    name: count === 1 ? first : `${first} … ${last} (each)`,
    bytes: each.bytes,
    byClass: each.byClass,
  }));
}

function naturalOrder(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

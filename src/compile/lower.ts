/** From a graph and its memory plan to a program: names become offsets. */

import type { Graph, Node, ValueId } from '../graph/graph.ts';
import type { Instruction, Operand, Program } from '../devices/program.ts';
import { attr } from '../ops/op.ts';
import { offsetOf, type MemoryPlan, type ProgramMemory } from '../memory/memory-plan.ts';

export function lower(memory: ProgramMemory, plan: MemoryPlan): Program {
  const { graph, liveness, placement } = memory;
  const operand = (id: ValueId): Operand => {
    const value = graph.values[id]!;
    return { dtype: value.dtype, shape: value.shape, offset: offsetOf(plan, memory, value) };
  };
  const instructions = graph.nodes.map((node, position): Instruction => {
    const scratch = liveness.scratchOf.get(position);
    return {
      op: node.op,
      inputs: node.inputs.map(operand),
      outputs: node.outputs.map(operand),
      attrs: node.region === undefined ? node.attrs : { ...node.attrs, at: attr(node.attrs, 'at') + memory.regionOffsets[node.region]! },
      workspace: scratch === undefined ? { offset: 0, bytes: 0 } : { offset: plan.persistentBytes + placement.offsets[scratch]!, bytes: liveness.ranges[scratch]!.bytes },
      phase: node.phase,
      scope: node.scope,
    };
  });
  const inputs = graph.inputs.filter((id) => graph.values[id]!.storage === 'input').map((id) => [graph.values[id]!.name, operand(id)] as const);
  const outputs = Object.entries(graph.outputs).map(([name, id]) => [name, operand(id)] as const);
  return {
    name: memory.name,
    instructions,
    arenaBytes: plan.arenaBytes,
    inputs: Object.fromEntries(inputs),
    outputs: Object.fromEntries(outputs),
    commitIndex: commitIndex(graph),
  };
}

/** Instructions `from` … `to` - 1 of a program, over the same arena. */
export function partOf(program: Program, from: number, to: number, name: string): Program {
  const instructions = program.instructions.slice(from, to);
  const commitIndex = Math.min(Math.max(program.commitIndex - from, 0), instructions.length);
  return { ...program, name, instructions, commitIndex };
}

/** A program in two: what can be computed without changing anything that lasts, and the change. Between them the host can look and refuse. */
export function splitAtCommit(program: Program, { nodes, outputs }: Graph): CommittedProgram {
  const late = new Set(nodes.slice(program.commitIndex).flatMap((node) => node.outputs));
  return {
    lateOutputs: Object.keys(outputs).filter((name) => late.has(outputs[name]!)),
    compute: partOf(program, 0, program.commitIndex, program.name),
    commit: partOf(program, program.commitIndex, program.instructions.length, `${program.name}, commit`),
  };
}

export interface CommittedProgram {
  /** Reads all inputs, makes all outputs. */
  readonly compute: Program;
  /** Reads what `compute` left in the arena: nothing may run in between. Takes no inputs of its own and cannot be cancelled. */
  readonly commit: Program;
  /** Outputs that only `commit` makes: parameters change before they are known. */
  readonly lateOutputs: readonly string[];
}

/** The first node that changes what outlives the run, gradients aside: they are started anew when an update is abandoned. */
function commitIndex(graph: Graph): number {
  const commits = (node: Node): boolean =>
    node.overwrites.some(({ output }) => {
      const value = graph.values[node.outputs[output]!]!;
      return value.persistent && value.storage !== 'gradient';
    });
  const index = graph.nodes.findIndex(commits);
  return index === -1 ? graph.nodes.length : index;
}

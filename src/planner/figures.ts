/** What the graphs of a run amount to: memory, instructions and time, read off graphs that are rewritten and scheduled, with nothing placed yet. */

import type { PlanRequest, TimeModel } from '../compile/planned-run.ts';
import type { Graph, Phase } from '../graph/graph.ts';
import { layerOf } from '../graph/recompute.ts';
import { liveBytes, persistentBlocks } from '../memory/memory-plan.ts';
import { processBytesFor } from '../memory/report.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import type { Candidate } from './candidate.ts';

export interface GraphFigures {
  readonly nodes: number;
  readonly busyMs: readonly number[];
  /** Most transient bytes that live at once within each part of the schedule: a phase of a layer, say. */
  readonly liveBytes: ReadonlyMap<number | string, number>;
  /** Persistent values by name: graphs share them. */
  readonly persistent: ReadonlyMap<string, number>;
}

export interface RunFigures {
  readonly persistentBytes: number;
  readonly graphs: Readonly<Record<string, Omit<GraphFigures, 'persistent'>>>;
}

const PHASES = { forward: 0, recompute: 1, backward: 2, update: 3 } satisfies Record<Phase, number>;

/** The figures of a finished graph. `places` numbers the kinds of places that layers have, by layer. */
export function figuresOf(finished: Graph, { device, time, places }: Pick<PlanRequest, 'device'> & { readonly time: TimeModel; readonly places: readonly number[] }): GraphFigures {
  const parts = new Map<number | string, number>();
  liveBytes(finished, device).forEach((bytes, position) => {
    const node = finished.nodes[position];
    const layer = node === undefined ? undefined : layerOf(node.scope);
    const part = node === undefined ? 'afterwards' : layer === undefined ? node.scope + node.phase : 4 * places[layer]! + PHASES[node.phase];
    if (bytes > (parts.get(part) ?? -1)) parts.set(part, bytes);
  });
  return { nodes: finished.nodes.length, busyMs: time.busyMs(finished), liveBytes: parts, persistent: persistentBlocks(finished, device) };
}

export function runFigures(graphs: Readonly<Record<string, GraphFigures>>): RunFigures {
  const persistent = new Map<string, number>();
  for (const graph of Object.values(graphs)) for (const [name, bytes] of graph.persistent) persistent.set(name, bytes);
  let persistentBytes = 0;
  for (const bytes of persistent.values()) persistentBytes += bytes;
  return { persistentBytes, graphs };
}

/**
 * Memory and time of one update. `graphs` has a fused step, or the micro-steps that go on with the gradients, which stand for the first ones too: those
 * need as much and take as long.
 */
export function candidateOf(plan: TrainingPlan, { persistentBytes, graphs }: RunFigures): Candidate {
  let [transient, instructions, stepMs, updateMs, steps] = [0, 0, 0, 0, 0];
  for (const [name, graph] of Object.entries(graphs)) {
    for (const bytes of graph.liveBytes.values()) transient = Math.max(transient, bytes);
    const isMicroStep = name.startsWith('micro-step');
    instructions += graph.nodes * (isMicroStep ? 2 : 1);
    const ms = Math.max(...graph.busyMs);
    if (name === 'update') updateMs = ms;
    else if (isMicroStep || name === 'step') {
      stepMs += ms;
      steps++;
    }
  }
  return { plan, bytes: persistentBytes + transient + processBytesFor(instructions), stepMs: plan.batch.accumulationSteps * (stepMs / steps) + updateMs };
}

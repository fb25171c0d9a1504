/** Memory and time of candidate plans, read off their compiled graphs. Graphs that candidates share are built once. */

import { buildGraphs, finishGraphs } from '../compile/compile.ts';
import { stepContext, type PlanRequest, type TimeModel } from '../compile/planned-run.ts';
import type { Graph } from '../graph/graph.ts';
import { persistentBytes, transientBytes } from '../memory/memory-plan.ts';
import { processBytesFor } from '../memory/report.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { proposals } from './space.ts';

export interface Candidate {
  readonly plan: TrainingPlan;
  /** Least bytes of the process: the arena is at most a little larger. */
  readonly bytes: number;
  /** Predicted time of one update. */
  readonly stepMs: number;
}

interface FixedPart {
  readonly persistentBytes: number;
  readonly transientBytes: number;
  readonly instructions: number;
  readonly updateMs: number;
}

export class Evaluator {
  private readonly request: PlanRequest;
  private readonly time: TimeModel;
  private readonly built = new Map<string, Readonly<Record<string, Graph>>>();
  private readonly paths = new Map<string, readonly TrainingPlan[]>();
  private readonly fixedParts = new Map<string, FixedPart>();
  private readonly candidates = new Map<string, Candidate>();

  constructor(request: PlanRequest) {
    this.request = request;
    this.time = request.time;
  }

  /** How many plans were compiled. */
  get evaluated(): number {
    return this.candidates.size;
  }

  /** Everything evaluated so far. */
  all(): readonly Candidate[] {
    return [...this.candidates.values()];
  }

  /** The candidates that a combination unfolds into, from most memory to least and from fastest to slowest. */
  path(plan: TrainingPlan): readonly TrainingPlan[] {
    const key = pathKey(plan);
    let path = this.paths.get(key);
    if (path === undefined) {
      path = proposals(plan, this.request, stepContext(plan, this.graphs(plan), this.time));
      this.paths.set(key, path);
    }
    return path;
  }

  evaluate(plan: TrainingPlan): Candidate {
    const key = JSON.stringify(plan);
    let candidate = this.candidates.get(key);
    if (candidate === undefined) {
      const { device } = this.request;
      const finished = finishGraphs(plan, pick(this.graphs(plan), isStep));
      const fixed = this.fixed(plan, finished);
      const steps = Object.entries(finished);
      const transient = steps.reduce((most, [, graph]) => Math.max(most, transientBytes(graph, device)), fixed.transientBytes);
      // A micro-step that starts the gradients has a program too.
      const instructions = steps.reduce((sum, [name, graph]) => sum + graph.nodes.length * (name === 'step' ? 1 : 2), 0);
      const stepMs = steps.reduce((sum, [, graph]) => sum + this.time.graphMs(graph), 0) / steps.length;
      candidate = { plan, bytes: fixed.persistentBytes + transient + processBytesFor(fixed.instructions + instructions), stepMs: plan.batch.accumulationSteps * stepMs + fixed.updateMs };
      this.candidates.set(key, candidate);
    }
    return candidate;
  }

  /** What is the same for all candidates of one path: everything but the micro-steps, of which `steps` are those of `plan`. */
  private fixed(plan: TrainingPlan, steps: Readonly<Record<string, Graph>>): FixedPart {
    const key = pathKey(plan);
    let part = this.fixedParts.get(key);
    if (part === undefined) {
      const { device } = this.request;
      const graphs = finishGraphs(plan, pick(this.graphs(plan), (name) => name === 'update' || name.startsWith('evaluate ')));
      const others = Object.entries(graphs);
      part = {
        persistentBytes: persistentBytes([...Object.values(graphs), ...Object.values(steps)], device),
        transientBytes: others.reduce((most, [, graph]) => Math.max(most, transientBytes(graph, device)), 0),
        instructions: others.reduce((sum, [, graph]) => sum + graph.nodes.length, 0),
        updateMs: graphs['update'] === undefined ? 0 : this.time.graphMs(graphs['update']),
      };
      this.fixedParts.set(key, part);
    }
    return part;
  }

  /** What a whole compilation found: the arena may be a little larger than its lower bound. */
  correct(plan: TrainingPlan, bytes: number): void {
    this.candidates.set(JSON.stringify(plan), { ...this.evaluate(plan), bytes });
  }

  private graphs(plan: TrainingPlan): Readonly<Record<string, Graph>> {
    const key = buildKey(plan);
    let graphs = this.built.get(key);
    if (graphs === undefined) {
      graphs = buildGraphs({ model: this.request.model, plan, purpose: 'train' });
      this.built.set(key, graphs);
    }
    return graphs;
  }
}

/** What the graphs before any `step` rewrite depend on. */
function buildKey({ packing, batch, precision, loss, optimizer }: TrainingPlan): string {
  return JSON.stringify([packing, batch, precision, loss, optimizer]);
}

/** What else a path of candidates depends on. */
function pathKey(plan: TrainingPlan): string {
  return buildKey(plan) + JSON.stringify([plan.update, plan.offload]);
}

/** A fused step, or the micro-steps that go on with the gradients: the first ones, which start them, need as much and take as long. */
function isStep(name: string): boolean {
  return name === 'step' || /^micro-step \d+ next$/.test(name);
}

function pick(graphs: Readonly<Record<string, Graph>>, isWanted: (name: string) => boolean): Readonly<Record<string, Graph>> {
  return Object.fromEntries(Object.entries(graphs).filter(([name]) => isWanted(name)));
}

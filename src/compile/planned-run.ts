/** A training plan with its compiled programs and memory: what a planner proposes, `plan` shows and a run follows. */

import type { DeviceSpec } from '../devices/device.ts';
import type { Attrs, Graph } from '../graph/graph.ts';
import type { TensorType } from '../graph/shape.ts';
import type { MemoryPlan } from '../memory/memory-plan.ts';
import { memoryReport, type MemoryReport } from '../memory/report.ts';
import type { ModelConfig } from '../models/model-config.ts';
import type { Choice } from '../run/events.ts';
import type { FrontierPoint } from '../run/frontier.ts';
import type { Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import type { StepContext } from '../techniques/technique.ts';
import { compile, type CompiledRun } from './compile.ts';

/** Predicted milliseconds on the machine that will run the plan. */
export interface TimeModel {
  nodeMs(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
  /** One run of a whole graph. */
  graphMs(graph: Graph): number;
  /** What goes on beside one another during one run, the longest of which is `graphMs`; each is a sum over nodes. */
  busyMs(graph: Graph): readonly number[];
}

export interface PlanRequest {
  readonly settings: Settings;
  readonly model: ModelConfig;
  readonly maxLength: number;
  /** Row lengths when documents are not packed, ascending. */
  readonly bucketLengths: readonly number[];
  /** Rows of the first epoch. */
  readonly rowsPerEpoch: number;
  /** Names of parameters that are not trained. */
  readonly frozen: readonly string[];
  readonly device: DeviceSpec;
  /** What the process may hold in all. */
  readonly memoryBytes: number;
  readonly time: TimeModel;
  /** When a run that was started goes on: what its state depends on. */
  readonly keep?: Pick<TrainingPlan, 'optimizer' | 'precision'>;
}

export interface PlannedRun {
  readonly plan: TrainingPlan;
  readonly compiled: CompiledRun;
  readonly report: MemoryReport;
  readonly fits: boolean;
  /** Predicted time of one update. */
  readonly predictedStepMs: number;
  /** Per technique: its value, and why not another one; empty for a plan that was given. */
  readonly reasons: readonly Choice[];
  /** Settings that need less memory, with what they need: asked for where nothing fits. Costs some compiling. */
  remedies(): readonly Remedy[];
  /** Memory against time, most memory first. Costs some compiling, so only when it is asked for. */
  frontier(): readonly FrontierPoint[];
}

/** The same run without the graphs that it was compiled from and was chosen among: all that is needed to run it, in a third of the JavaScript heap. */
export function withoutGraphs(planned: PlannedRun): PlannedRun {
  const { compiled } = planned;
  return { ...planned, compiled: { ...compiled, memory: { ...compiled.memory, programs: [] } }, remedies: () => [], frontier: () => [] };
}

/** A change of settings, and the least that a run needs with it. */
export interface Remedy {
  /** As flags: `--allow all`. */
  readonly change: string;
  readonly bytes: number;
}

/** Chooses a plan; the smallest one there is when none fits. */
export type ChoosePlan = (request: PlanRequest) => PlannedRun;

/** Compiles a given plan, such as the one a run stored. */
export function compilePlan(request: CompileRequest, plan: TrainingPlan): PlannedRun {
  return plannedRun(request, plan, compile({ model: request.model, plan, device: request.device, purpose: 'train' }));
}

type CompileRequest = Pick<PlanRequest, 'model' | 'device' | 'memoryBytes' | 'time'>;

/** What is to be said of a plan that is compiled. */
export function plannedRun({ memoryBytes, time }: Pick<PlanRequest, 'memoryBytes' | 'time'>, plan: TrainingPlan, compiled: CompiledRun): PlannedRun {
  const report = memoryReport(compiled.memory);
  const predictedStepMs = updateMs(plan, graphsOf(compiled.memory), time);
  return { plan, compiled, report, fits: report.forecastBytes <= memoryBytes, predictedStepMs, reasons: [], remedies: () => [], frontier: () => [] };
}

/** The graphs of a run by name. */
export function graphsOf({ programs }: MemoryPlan): Readonly<Record<string, Graph>> {
  return Object.fromEntries(programs.map(({ name, graph }) => [name, graph]));
}

/** What techniques that propose by search go by: the graph of a whole step, or of a micro-step that goes on. */
export function stepContext({ packing }: TrainingPlan, graphs: Readonly<Record<string, Graph>>, { time, model }: Pick<PlanRequest, 'time' | 'model'>): StepContext {
  return {
    layers: model.layers,
    graph: graphs['step'] ?? graphs[`micro-step ${packing.rowLengths.at(-1)!} next`]!,
    nodeMs: ({ values }, { op, inputs, outputs, attrs }) => time.nodeMs(op, inputs.map((id) => values[id]!), outputs.map((id) => values[id]!), attrs),
  };
}

/** Milliseconds of one update: all its micro-steps (the first takes as long as the others) and the update. Rows of several lengths count evenly. */
export function updateMs(plan: TrainingPlan, graphs: Readonly<Record<string, Graph>>, time: TimeModel): number {
  const { rowLengths } = plan.packing;
  const fused = graphs['step'];
  if (fused !== undefined) return time.graphMs(fused);
  const of = (name: string): number => time.graphMs(graphs[name]!);
  const mean = (kind: string): number => rowLengths.reduce((sum, length) => sum + of(`micro-step ${length} ${kind}`), 0) / rowLengths.length;
  return plan.batch.accumulationSteps * mean('next') + of('update');
}

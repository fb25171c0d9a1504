/** A training plan with its compiled programs and memory: what a planner proposes, `plan` shows and a run follows. */

import type { DeviceSpec } from '../devices/device.ts';
import { memoryReport, type MemoryReport } from '../memory/report.ts';
import type { ModelConfig } from '../models/model-config.ts';
import type { Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { compile, type CompiledRun } from './compile.ts';

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
}

export interface PlannedRun {
  readonly plan: TrainingPlan;
  readonly compiled: CompiledRun;
  readonly report: MemoryReport;
  readonly fits: boolean;
  /** Milliseconds of a step, as the planner foresees them; absent when nobody has measured this machine. */
  readonly predictedStepMs?: number;
}

/** The same run without the graphs that it was compiled from: all that is needed to run it, in a third of the JavaScript heap. */
export function withoutGraphs(planned: PlannedRun): PlannedRun {
  const { compiled } = planned;
  return { ...planned, compiled: { ...compiled, memory: { ...compiled.memory, programs: [] } } };
}

/** Chooses a plan; the smallest one seen when none fits. */
export type ChoosePlan = (request: PlanRequest) => PlannedRun;

/** Compiles a given plan, such as the one a run stored. */
export function compilePlan({ model, device, memoryBytes }: Pick<PlanRequest, 'model' | 'device' | 'memoryBytes'>, plan: TrainingPlan): PlannedRun {
  const compiled = compile({ model, plan, device, purpose: 'train' });
  const report = memoryReport(compiled.memory);
  return { plan, compiled, report, fits: report.forecastBytes <= memoryBytes };
}

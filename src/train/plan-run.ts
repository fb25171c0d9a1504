/** What `plan(config)` does: the plan and its memory, with nothing written and no memory taken. Not fitting is a value, not a throw. */

import type { ChoosePlan } from '../compile/planned-run.ts';
import type { DataStatistics } from '../data/prepare.ts';
import type { MemoryReport } from '../memory/report.ts';
import type { Choice } from '../run/events.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { BatchSource } from '../data/batches.ts';
import { createNullDevice } from '../devices/null/null-device.ts';
import { countParameters } from '../models/parameters.ts';
import { explainPlan, prepareRun, remedies, type PreparedRun } from './prepare-run.ts';
import { runUpdate } from './run-update.ts';
import { runLength } from './schedule.ts';
import { TrainingState } from './training-state.ts';

interface PlanFacts {
  readonly plan: TrainingPlan;
  readonly memory: MemoryReport;
  readonly freeBytes: number;
  readonly choices: readonly Choice[];
  readonly notices: readonly string[];
  /** One line per technique. */
  readonly techniques: readonly string[];
  readonly model: { readonly name: string; readonly type: string; readonly parameters: number };
  readonly data: DataStatistics & { readonly maxLength: number; readonly rowsPerEpoch: number };
  readonly totalSteps: number;
}

export type PlanResult =
  | ({ readonly kind: 'fits' } & PlanFacts)
  | ({ readonly kind: 'too-small'; readonly neededBytes: number; readonly remedies: readonly string[] } & PlanFacts);

export async function planOnly(config: RunConfig, choose: ChoosePlan, options: { readonly signal?: AbortSignal } = {}): Promise<PlanResult> {
  const prepared = await prepareRun(config, { plan: choose, ...options });
  const { settings, model, data, planned, freeBytes, choices, notices } = prepared;
  const batches = new BatchSource({ file: data.train, ...planned.plan.packing, ...planned.plan.batch, seed: settings.seed, shuffle: settings.shuffle });
  const rowsPerUpdate = planned.plan.batch.rowsPerUpdate;
  const facts: PlanFacts = {
    plan: planned.plan,
    memory: planned.report,
    freeBytes, choices, notices,
    techniques: explainPlan(planned.plan),
    model: { name: model.name, type: model.config.modelType, parameters: countParameters(model.config) },
    data: { ...data.statistics, maxLength: data.maxLength, rowsPerEpoch: batches.rowsInEpoch(0) },
    totalSteps: runLength(settings, (epoch) => Math.ceil(batches.rowsInEpoch(epoch) / rowsPerUpdate)).totalSteps,
  };
  await rehearse(prepared, batches);
  data.train.close();
  data.evaluation?.close();
  return planned.fits ? { kind: 'fits', ...facts } : { kind: 'too-small', neededBytes: planned.report.forecastBytes, remedies: remedies(planned), ...facts };
}

/** One update on the null device: every program is loaded, every input is written at its place, no memory is taken and nothing is computed. */
async function rehearse({ device, planned }: PreparedRun, batches: BatchSource): Promise<void> {
  const { compiled } = planned;
  const state = await TrainingState.create(createNullDevice(device), compiled.memory, compiled.constants, { rehearsal: true });
  try {
    await runUpdate(state, compiled, batches.next(), { learningRate: 0, step: 1 }, new AbortController().signal);
  } finally {
    state.free();
  }
}

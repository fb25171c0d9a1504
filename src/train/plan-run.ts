/** What `plan(config)` does: the plan and its memory, with nothing written and no memory taken. Not fitting is a value, not a throw. */

import type { ChoosePlan } from '../compile/planned-run.ts';
import type { DataStatistics } from '../data/prepare.ts';
import { memoryPicture, type MemoryPicture } from '../memory/picture.ts';
import type { MemoryReport } from '../memory/report.ts';
import { parsePlanConfig } from '../run/config-schema.ts';
import type { Choice } from '../run/events.ts';
import type { FrontierPoint } from '../run/frontier.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { BatchSource } from '../data/batches.ts';
import { createNullDevice } from '../devices/null/null-device.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import { countParameters } from '../models/parameters.ts';
import { createDevice, freeMemoryBytes } from './devices.ts';
import { describeModel } from './model-directory.ts';
import { budgetOf, remedyLines } from './budget.ts';
import { frozenParameters } from './prepare-inputs.ts';
import { prepareRun, type PreparedRun } from './prepare-run.ts';
import { runUpdate } from './run-update.ts';
import { runLength } from './schedule.ts';
import { timeModel } from './time-model.ts';
import { TrainingState } from './training-state.ts';

interface PlanFacts {
  readonly plan: TrainingPlan;
  readonly memory: MemoryReport;
  readonly freeBytes: number;
  /** What the process may hold. */
  readonly budgetBytes: number;
  readonly choices: readonly Choice[];
  readonly notices: readonly string[];
  /** Per technique: its value, and the figure of what was not taken. */
  readonly techniques: readonly Choice[];
  readonly model: { readonly name: string; readonly type: string; readonly parameters: number };
  /** Undefined when planning without data: rows are then taken to be full, and every token to carry loss. */
  readonly data: (DataStatistics & { readonly maxLength: number; readonly rowsPerEpoch: number }) | undefined;
  readonly totalSteps: number | undefined;
  /** Predicted, of one update. */
  readonly stepMs: number;
  readonly tokensPerSecond: number;
  /** Most memory first. */
  readonly frontier: readonly FrontierPoint[];
  /** Where every value lies and when; with `picture: true` only. */
  readonly picture?: MemoryPicture;
}

export type PlanResult =
  | ({ readonly kind: 'fits' } & PlanFacts)
  | ({ readonly kind: 'too-small'; readonly neededBytes: number; readonly remedies: readonly string[] } & PlanFacts);

/** What can be planned: a run, or a model alone, whose data are not known yet. */
export type PlanConfig = Omit<RunConfig, 'dataset'> & { readonly dataset?: string };

export interface PlanOptions {
  readonly signal?: AbortSignal;
  /** Look at this plan instead of making one. */
  readonly plan?: TrainingPlan;
  /** Adds `picture` to the result: a few hundred kilobytes for a small model. */
  readonly picture?: boolean;
}

export async function planOnly(given: PlanConfig, choose: ChoosePlan, { plan, picture = false, ...options }: PlanOptions = {}): Promise<PlanResult> {
  const aliases: string[] = [];
  const config = parsePlanConfig(given, (notice) => aliases.push(notice));
  if (config.dataset === '') return planWithoutData(config, choose, { picture, aliases });
  const ready = await prepareRun(config, { plan: plan ?? choose, withoutWeights: true, ...options });
  const prepared = { ...ready, notices: [...aliases, ...ready.notices] };
  const { settings, data, planned } = prepared;
  const batches = new BatchSource({ file: data.train, ...planned.plan.packing, ...planned.plan.batch, seed: settings.seed, shuffle: settings.shuffle });
  const rowsPerUpdate = planned.plan.batch.rowsPerUpdate;
  await rehearse(prepared, batches);
  const result = resultOf(prepared, {
    data: { ...data.statistics, maxLength: data.maxLength, rowsPerEpoch: batches.rowsInEpoch(0) },
    totalSteps: runLength(settings, (epoch) => Math.ceil(batches.rowsInEpoch(epoch) / rowsPerUpdate)).totalSteps,
    picture,
  });
  data.train.close();
  data.evaluation?.close();
  return result;
}

/** Rows are full, and there are always enough of them. */
async function planWithoutData(config: RunConfig, choose: ChoosePlan, { picture, aliases }: { readonly picture: boolean; readonly aliases: readonly string[] }): Promise<PlanResult> {
  const settings = resolveSettings(config);
  const model = describeModel(settings.model);
  const maxLength = settings.max_length ?? Math.min(1024, longestRow(model.config));
  const remarks = checkLength(model.config, maxLength);
  const freeBytes = freeMemoryBytes();
  const device = createDevice(settings);
  const planned = choose({
    settings, model: model.config, maxLength, bucketLengths: [maxLength], rowsPerEpoch: Infinity, frozen: frozenParameters(settings.freeze, model),
    device, memoryBytes: budgetOf(settings, freeBytes), time: timeModel(device).model,
  });
  const notices = [...aliases, ...model.config.notices, ...remarks, `planned without data: rows of ${maxLength} tokens, all full, every token with loss`];
  return resultOf({ settings, model, planned, freeBytes, choices: [], notices }, { data: undefined, totalSteps: undefined, picture });
}

function resultOf(
  { settings, model, planned, freeBytes, choices, notices }: Pick<PreparedRun, 'settings' | 'model' | 'planned' | 'freeBytes' | 'choices' | 'notices'>,
  { data, totalSteps, picture }: Pick<PlanFacts, 'data' | 'totalSteps'> & { readonly picture: boolean },
): PlanResult {
  const { plan, report, predictedStepMs } = planned;
  const facts: PlanFacts = {
    plan, memory: report, freeBytes, budgetBytes: budgetOf(settings, freeBytes), choices, notices, data, totalSteps,
    techniques: planned.reasons,
    model: { name: model.name, type: model.config.modelType, parameters: countParameters(model.config) },
    stepMs: predictedStepMs,
    tokensPerSecond: (plan.batch.rowsPerUpdate * plan.packing.rowLengths.at(-1)!) / (predictedStepMs / 1000),
    frontier: planned.frontier(),
    ...(picture ? { picture: memoryPicture(planned.compiled.memory) } : {}),
  };
  return planned.fits ? { kind: 'fits', ...facts } : { kind: 'too-small', neededBytes: report.forecastBytes, remedies: remedyLines(planned, freeBytes), ...facts };
}

/** One update on the null device: every program is loaded, every input is written at its place, no memory is taken and nothing is computed. */
async function rehearse({ device, planned }: PreparedRun, batches: BatchSource): Promise<void> {
  const { compiled } = planned;
  const state = await TrainingState.create(createNullDevice(device), compiled.memory, compiled.constants, { rehearsal: true });
  try {
    await runUpdate(state, compiled, batches.next(), { learningRate: 0, step: 1, lossScale: 1 }, new AbortController().signal);
  } finally {
    state.free();
  }
}

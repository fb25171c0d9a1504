/**
 * Everything that must be known before a run may write anything: settings, model, names of the weights, data, device, plan. A mistake in
 * any of them ends here, with nothing changed.
 */

import { BatchSource } from '../data/batches.ts';
import type { PreparedData } from '../data/prepare.ts';
import { createDevice, freeMemoryBytes } from './devices.ts';
import type { Device } from '../devices/device.ts';
import type { ChoosePlan, PlannedRun, PlanRequest } from '../compile/planned-run.ts';
import type { Choice } from '../run/events.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import type { Workload } from '../cost/cost-model.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import { budgetOf } from './budget.ts';
import { followPlan } from './follow-plan.ts';
import type { ModelDirectory } from './model-directory.ts';
import { prepareInputs, type InputOptions } from './prepare-inputs.ts';
import { timeModel } from './time-model.ts';

export interface PreparedRun {
  readonly settings: Settings;
  readonly model: ModelDirectory;
  readonly data: PreparedData;
  readonly device: Device;
  readonly planned: PlannedRun;
  /** Free memory of machine and cgroup when the plan was made. */
  readonly freeBytes: number;
  /** What nobody set and fulltune chose, with reasons. */
  readonly choices: readonly Choice[];
  readonly notices: readonly string[];
}

export interface PrepareOptions extends InputOptions {
  /** The plan to follow, or who makes one. */
  readonly plan: TrainingPlan | ChoosePlan;
  /** What may not change when a run goes on with a new plan. */
  readonly keep?: TrainingPlan;
  /** What was decided before, to be told with the rest. */
  readonly choices?: readonly Choice[];
  readonly notices?: readonly string[];
}

export async function prepareRun(config: RunConfig, options: PrepareOptions): Promise<PreparedRun> {
  const { settings, model, frozen, data, remarks } = await prepareInputs(config, options);
  const device = createDevice(settings);
  const epochRows = rowsPerEpoch(settings, data);
  const freeBytes = freeMemoryBytes();
  const request: PlanRequest = {
    settings,
    model: model.config,
    maxLength: data.maxLength,
    bucketLengths: data.bucketLengths,
    rowsPerEpoch: epochRows,
    frozen,
    device,
    memoryBytes: budgetOf(settings, freeBytes),
    time: timeModel(device, workloadOf(settings, data, epochRows)).model,
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  };
  const planned = typeof options.plan === 'function' ? options.plan(request) : followPlan(request, options.plan, config);
  return {
    settings, model, data, device, planned, freeBytes,
    choices: [...(options.choices ?? []), ...choicesOf(config, request, data, planned.plan.batch.rowsPerUpdate, planned.plan.packing.rowLengths)],
    notices: [...(options.notices ?? []), ...model.config.notices, ...remarks, ...data.notices],
  };
}

/** How full the rows are of tokens with loss, and how long the documents are in them. */
function workloadOf({ packing }: Settings, { train, statistics, maxLength, bucketLengths }: PreparedData, rows: number): Workload {
  const rowOf = (length: number): number => bucketLengths.find((bucket) => bucket >= length) ?? maxLength;
  let [squares, slots, rowSquares] = [0, packing ? rows * maxLength : 0, packing ? rows * maxLength ** 2 : 0];
  for (const length of train.lengths) {
    squares += Math.min(length, maxLength) ** 2;
    if (packing) continue;
    slots += rowOf(length);
    rowSquares += rowOf(length) ** 2;
  }
  return { lossShare: Math.min(1, statistics.trainedTokens / Math.max(1, slots)), attentionShare: Math.min(1, squares / Math.max(1, rowSquares)) };
}

function rowsPerEpoch({ packing, seed, shuffle }: Settings, { train, maxLength }: PreparedData): number {
  if (!packing) return train.documents;
  return new BatchSource({ file: train, rowLengths: [maxLength], packed: true, rowsPerUpdate: 1, microBatchSize: 1, seed, shuffle }).rowsInEpoch(0);
}

/** What nobody set and the program chose, whatever engine trains. */
export function choicesOf(config: RunConfig, { settings }: Pick<PlanRequest, 'settings'>, data: PreparedData, rowsPerUpdate: number, rowLengths: readonly number[]): readonly Choice[] {
  const choices: Choice[] = [];
  if (config.max_length === undefined) choices.push({ key: 'max_length', value: String(data.maxLength), reason: data.maxLengthReason });
  if (config.train_batch_size === undefined && config.train_batch_tokens === undefined && config.gradient_accumulation_steps === undefined) {
    choices.push({ key: 'train_batch_size', value: String(rowsPerUpdate), reason: 'the default' });
  }
  if (config.learning_rate === undefined) {
    choices.push({ key: 'learning_rate', value: String(settings.learning_rate), reason: `the default, ${settings.lr_scheduler_type} decay; small models often want more` });
  }
  if (!settings.packing) choices.push({ key: 'row lengths', value: rowLengths.join(', '), reason: 'documents are filled up to the next of these' });
  return choices;
}

/** One line per technique: what it does in this plan, and why not something else. */
export function explainPlan({ plan, reasons }: Pick<PlannedRun, 'plan' | 'reasons'>): readonly string[] {
  if (reasons.length > 0) return reasons.map(({ key, value, reason }) => `${key}: ${value} (${reason})`);
  return TECHNIQUES.map((technique) => `${technique.name}: ${technique.explain(plan).value}`);
}

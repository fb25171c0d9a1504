/**
 * Everything that must be known before a run may write anything: settings, model, names of the weights, data, device, plan. A mistake in
 * any of them ends here, with nothing changed.
 */

import { basename } from 'node:path';
import { FulltuneError, nearest } from '../base/errors.ts';
import { BatchSource } from '../data/batches.ts';
import { prepareData, type PreparedData } from '../data/prepare.ts';
import { createDevice, freeMemoryBytes } from './devices.ts';
import type { Device } from '../devices/device.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import type { ChoosePlan, PlannedRun, PlanRequest } from '../compile/planned-run.ts';
import type { Choice, ProgressEvent } from '../run/events.ts';
import { parseConfig } from '../run/config-schema.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import type { Workload } from '../cost/cost-model.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import { budgetOf } from './budget.ts';
import { followPlan } from './follow-plan.ts';
import { describeModel, openModelDirectory, type ModelDirectory } from './model-directory.ts';
import { timeModel } from './time-model.ts';
import { tokenCache } from './token-cache.ts';

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

export interface PrepareOptions {
  /** The plan to follow, or who makes one. */
  readonly plan: TrainingPlan | ChoosePlan;
  /** What may not change when a run goes on with a new plan. */
  readonly keep?: TrainingPlan;
  /** For planning alone: the folder need not hold weights. */
  readonly withoutWeights?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ProgressEvent) => void;
}

export async function prepareRun(config: RunConfig, options: PrepareOptions): Promise<PreparedRun> {
  const { dataset, eval_dataset: evaluation } = parseConfig(config, 'config');
  const settings = resolveSettings({
    ...config, dataset: resolveDatasetPath(dataset), ...(evaluation === undefined ? {} : { eval_dataset: resolveDatasetPath(evaluation) }),
  });
  const model = options.withoutWeights === true ? describeModel(settings.model) : openModelDirectory(settings.model);
  const frozen = frozenParameters(settings.freeze, model);
  const data = await prepareData({
    settings,
    modelDirectory: model.path,
    vocabularySize: model.config.vocabularySize,
    // A length that the user sets is checked below, with the reason; one that is chosen here fits.
    modelMaxLength: settings.max_length === undefined ? longestRow(model.config) : model.config.maxPositions,
    workDirectory: tokenCache(),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onProgress: ({ dataset, bytesRead, totalBytes }) => options.onProgress?.({ kind: 'progress', what: 'tokenising', dataset: basename(dataset), doneBytes: bytesRead, totalBytes }),
  });
  const remarks = checkLength(model.config, data.maxLength);
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
    choices: choicesOf(config, request, data, planned),
    notices: [...model.config.notices, ...remarks, ...data.notices],
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

/** Names of the parameters that `patterns` select. A pattern that selects none is a mistake. */
export function frozenParameters(patterns: readonly string[], { parameters }: ModelDirectory): readonly string[] {
  const names = parameters.map((parameter) => parameter.name);
  const frozen = new Set<string>();
  for (const pattern of patterns) {
    const expression = new RegExp(`^${pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`);
    const selected = names.filter((name) => expression.test(name));
    if (selected.length === 0) {
      const near = nearest(pattern, names);
      throw new FulltuneError('E_CONFIG', `no parameter of the model matches '${pattern}'`, {
        where: 'freeze',
        remedy: near === undefined ? `Names look like ${names[0]} and ${names.at(-1)}; * matches anything.` : `Did you mean ${near}? * matches anything.`,
      });
    }
    for (const name of selected) frozen.add(name);
  }
  if (frozen.size === names.length) throw new FulltuneError('E_CONFIG', 'all parameters are frozen: nothing is left to train', { where: 'freeze' });
  return names.filter((name) => frozen.has(name));
}

function choicesOf(config: RunConfig, { settings }: PlanRequest, data: PreparedData, { plan }: PlannedRun): readonly Choice[] {
  const choices: Choice[] = [];
  if (config.max_length === undefined) choices.push({ key: 'max_length', value: String(data.maxLength), reason: data.maxLengthReason });
  if (config.train_batch_size === undefined && config.train_batch_tokens === undefined && config.gradient_accumulation_steps === undefined) {
    choices.push({ key: 'train_batch_size', value: String(plan.batch.rowsPerUpdate), reason: 'the default' });
  }
  if (config.learning_rate === undefined) {
    choices.push({ key: 'learning_rate', value: String(settings.learning_rate), reason: `the default, ${settings.lr_scheduler_type} decay; small models often want more` });
  }
  if (!settings.packing) choices.push({ key: 'row lengths', value: plan.packing.rowLengths.join(', '), reason: 'documents are filled up to the next of these' });
  return choices;
}

/** One line per technique: what it does in this plan, and why not something else. */
export function explainPlan({ plan, reasons }: Pick<PlannedRun, 'plan' | 'reasons'>): readonly string[] {
  if (reasons.length > 0) return reasons.map(({ key, value, reason }) => `${key}: ${value} (${reason})`);
  return TECHNIQUES.map((technique) => `${technique.name}: ${technique.explain(plan).value}`);
}

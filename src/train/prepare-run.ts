/**
 * Everything that must be known before a run may write anything: settings, model, names of the weights, data, device, plan. A mistake in
 * any of them ends here, with nothing changed.
 */

import { basename } from 'node:path';
import { formatBytes } from '../base/bytes.ts';
import { FulltuneError, nearest } from '../base/errors.ts';
import { BatchSource } from '../data/batches.ts';
import { prepareData, type PreparedData } from '../data/prepare.ts';
import { createDevice, freeMemoryBytes } from './devices.ts';
import type { Device } from '../devices/device.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import { compilePlan, withoutGraphs, type ChoosePlan, type PlannedRun, type PlanRequest } from '../compile/planned-run.ts';
import type { Choice, ProgressEvent } from '../run/events.ts';
import { parseConfig } from '../run/config-schema.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import { openModelDirectory, type ModelDirectory } from './model-directory.ts';
import { tokenCache } from './token-cache.ts';

/** Share of the free memory that a run may plan for: the rest is for what else the machine does. */
const MEMORY_SHARE = 0.8;

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
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ProgressEvent) => void;
}

export async function prepareRun(config: RunConfig, options: PrepareOptions): Promise<PreparedRun> {
  const { dataset, eval_dataset: evaluation } = parseConfig(config, 'config');
  const settings = resolveSettings({
    ...config, dataset: resolveDatasetPath(dataset), ...(evaluation === undefined ? {} : { eval_dataset: resolveDatasetPath(evaluation) }),
  });
  const model = openModelDirectory(settings.model);
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
  const freeBytes = freeMemoryBytes();
  const request: PlanRequest = {
    settings,
    model: model.config,
    maxLength: data.maxLength,
    bucketLengths: data.bucketLengths,
    rowsPerEpoch: rowsPerEpoch(settings, data),
    frozen,
    device,
    memoryBytes: Math.floor(freeBytes * MEMORY_SHARE),
  };
  const planned = withoutGraphs(typeof options.plan === 'function' ? options.plan(request) : compilePlan(request, options.plan));
  return {
    settings, model, data, device, planned, freeBytes,
    choices: choicesOf(config, request, data, planned),
    notices: [...model.config.notices, ...remarks, ...data.notices],
  };
}

function rowsPerEpoch({ packing, seed, shuffle }: Settings, { train, maxLength }: PreparedData): number {
  if (!packing) return train.documents;
  return new BatchSource({ file: train, rowLengths: [maxLength], packed: true, rowsPerUpdate: 1, microBatchSize: 1, seed, shuffle }).rowsInEpoch(0);
}

/** Refuses a plan that does not fit, before anything is written. */
export function requireFit({ planned, freeBytes }: PreparedRun): void {
  if (planned.fits) return;
  const { plan, report } = planned;
  throw new FulltuneError(
    'E_BUDGET',
    `the run needs ${formatBytes(report.forecastBytes)} (micro-batch ${plan.batch.microBatchSize}, length ${plan.packing.rowLengths.at(-1)}), and ` +
      `${formatBytes(freeBytes * MEMORY_SHARE)} may be used: ${MEMORY_SHARE * 100} % of the ${formatBytes(freeBytes)} that are free`,
    { where: `the peak is at ${report.peak.node}`, remedy: remedies(planned).join(' ') },
  );
}

/** What makes a run smaller, most effective first. */
export function remedies({ plan, report }: PlannedRun): readonly string[] {
  const length = plan.packing.rowLengths.at(-1)!;
  const held = new Map(report.classes.map(({ storage, bytes }) => [storage, bytes]));
  const perRow = (held.get('activation') ?? 0) + (held.get('workspace') ?? 0);
  const perParameter = (held.get('optimizer-state') ?? 0) + (held.get('gradient') ?? 0);
  const rows = [
    ...(plan.batch.microBatchSize > 1 ? [`Set --per-device-train-batch-size below ${plan.batch.microBatchSize}.`] : []),
    ...(length > 128 ? [`Try --max-length ${Math.max(64, Math.floor(length / 2))}.`] : []),
  ];
  const state = [...(plan.optimizer.kind === 'adamw' ? ['Try --optim sgd (another training: it needs its own learning rate).'] : []), 'Freeze parameters with --freeze.'];
  return perRow > perParameter ? [...rows, ...state] : [...state, ...rows];
}

/** Names of the parameters that `patterns` select. A pattern that selects none is a mistake. */
function frozenParameters(patterns: readonly string[], { parameters }: ModelDirectory): readonly string[] {
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

function choicesOf(config: RunConfig, { settings, rowsPerEpoch: epochRows }: PlanRequest, data: PreparedData, { plan, report }: PlannedRun): readonly Choice[] {
  const choices: Choice[] = [];
  if (config.max_length === undefined) choices.push({ key: 'max_length', value: String(data.maxLength), reason: data.maxLengthReason });
  if (config.train_batch_size === undefined && config.train_batch_tokens === undefined && config.gradient_accumulation_steps === undefined) {
    choices.push({ key: 'train_batch_size', value: String(plan.batch.rowsPerUpdate), reason: 'the default' });
  }
  if (config.per_device_train_batch_size === undefined && config.gradient_accumulation_steps === undefined) {
    choices.push({
      key: 'per_device_train_batch_size',
      value: String(plan.batch.microBatchSize),
      reason: `${microBatchReason(plan, epochRows)}; the run needs ${formatBytes(report.forecastBytes)}`,
    });
  }
  if (config.learning_rate === undefined) {
    choices.push({ key: 'learning_rate', value: String(settings.learning_rate), reason: `the default, ${settings.lr_scheduler_type} decay; small models often want more` });
  }
  if (!settings.packing) choices.push({ key: 'row lengths', value: plan.packing.rowLengths.join(', '), reason: 'documents are filled up to the next of these' });
  return choices;
}

function microBatchReason({ batch }: TrainingPlan, epochRows: number): string {
  if (batch.accumulationSteps === 1) return 'the whole update fits';
  return batch.microBatchSize === epochRows ? 'an epoch has no more rows' : 'the largest that fits';
}

/** One line per technique: what it does in this plan. */
export function explainPlan(plan: TrainingPlan): readonly string[] {
  return TECHNIQUES.map((technique) => `${technique.name}: ${technique.explain(plan).value}`);
}

/**
 * Everything that must be known before a run may write anything: settings, model, names of the weights, data, device, plan. A mistake in
 * any of them ends here, with nothing changed.
 */

import { basename } from 'node:path';
import { formatBytes, GIB, MIB, parseBytes } from '../base/bytes.ts';
import { FulltuneError, nearest } from '../base/errors.ts';
import { BatchSource } from '../data/batches.ts';
import { prepareData, type PreparedData } from '../data/prepare.ts';
import { createDevice, freeMemoryBytes } from './devices.ts';
import type { Device } from '../devices/device.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import { compilePlan, type ChoosePlan, type PlannedRun, type PlanRequest } from '../compile/planned-run.ts';
import type { Choice, ProgressEvent } from '../run/events.ts';
import { parseConfig } from '../run/config-schema.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import type { Workload } from '../cost/cost-model.ts';
import { rowsPerUpdate } from '../techniques/accumulation.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import { describeModel, openModelDirectory, type ModelDirectory } from './model-directory.ts';
import { timeModel } from './time-model.ts';
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
  const freeBytes = freeMemoryBytes();
  const request: PlanRequest = {
    settings,
    model: model.config,
    maxLength: data.maxLength,
    bucketLengths: data.bucketLengths,
    rowsPerEpoch: rowsPerEpoch(settings, data),
    frozen,
    device,
    memoryBytes: budgetOf(settings, freeBytes),
    time: timeModel(device, workloadOf(settings, data)).model,
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  };
  const planned = typeof options.plan === 'function' ? options.plan(request) : followPlan(request, options.plan);
  return {
    settings, model, data, device, planned, freeBytes,
    choices: choicesOf(config, request, data, planned),
    notices: [...model.config.notices, ...remarks, ...data.notices],
  };
}

/** How full the rows are of tokens with loss, and how long the documents are in them. */
function workloadOf(settings: Settings, data: PreparedData): Workload {
  const rows = rowsPerEpoch(settings, data);
  const { lengths } = data.train;
  let squares = 0;
  for (const length of lengths) squares += Math.min(length, data.maxLength) ** 2;
  const slots = settings.packing ? rows * data.maxLength : lengths.reduce((sum, length) => sum + (data.bucketLengths.find((bucket) => bucket >= length) ?? data.maxLength), 0);
  const square = settings.packing ? rows * data.maxLength ** 2 : squares;
  return { lossShare: Math.min(1, data.statistics.trainedTokens / Math.max(1, slots)), attentionShare: Math.min(1, squares / Math.max(1, square)) };
}

/** Compiles a plan that was given, if it is one for these settings. */
function followPlan(request: PlanRequest, plan: TrainingPlan): PlannedRun {
  const { settings, maxLength, bucketLengths, frozen } = request;
  const rowLengths = settings.packing ? [maxLength] : bucketLengths;
  const rows = rowsPerUpdate(settings, maxLength);
  const differs = (what: string, has: string, wants: string): FulltuneError =>
    new FulltuneError('E_CONFIG', `the plan is for ${what} ${has}, and the settings with these data make ${wants}`, { where: 'plan', remedy: 'Make a new plan, or use the settings that the plan was made with.' });
  if (plan.packing.packed !== settings.packing || plan.packing.rowLengths.join() !== rowLengths.join()) throw differs('rows of', `${plan.packing.rowLengths.join(', ')} tokens`, rowLengths.join(', '));
  if (plan.batch.rowsPerUpdate !== rows) throw differs('updates of', `${plan.batch.rowsPerUpdate} rows`, String(rows));
  if (plan.maxGradNorm !== settings.max_grad_norm) throw differs('max_grad_norm', String(plan.maxGradNorm), String(settings.max_grad_norm));
  if (plan.frozen.join() !== frozen.join()) throw differs('frozen parameters', plan.frozen.join(', ') || 'none', frozen.join(', ') || 'none');
  return compilePlan(request, plan);
}

/** What the process may hold: as the settings say, else a share of what is free. */
export function budgetOf({ memory }: Pick<Settings, 'memory'>, freeBytes: number): number {
  return memory === undefined ? Math.floor(freeBytes * MEMORY_SHARE) : parseBytes(memory, 'memory');
}

function rowsPerEpoch({ packing, seed, shuffle }: Settings, { train, maxLength }: PreparedData): number {
  if (!packing) return train.documents;
  return new BatchSource({ file: train, rowLengths: [maxLength], packed: true, rowsPerUpdate: 1, microBatchSize: 1, seed, shuffle }).rowsInEpoch(0);
}

/** Refuses a plan that does not fit, before anything is written. */
export function requireFit(prepared: PreparedRun): PreparedRun {
  const { planned, settings, freeBytes } = prepared;
  if (planned.fits) return prepared;
  const { report } = planned;
  const budget = budgetOf(settings, freeBytes);
  const limit = settings.memory === undefined ? `${formatBytes(budget)}, ${MEMORY_SHARE * 100} % of the ${formatBytes(freeBytes)} that are free` : formatBytes(budget);
  throw new FulltuneError('E_BUDGET', `no plan fits ${limit}. The smallest needs ${formatBytes(report.forecastBytes)} (${briefPlan(planned.plan)})`, {
    where: `the peak is at ${report.peak.node}`, remedy: remedyLines(planned, freeBytes).join('\n  '),
  });
}

/** What to do about a plan that does not fit: changes of settings with what they need, then a larger budget where the machine has it. */
export function remedyLines(planned: PlannedRun, freeBytes: number): readonly string[] {
  const needed = planned.report.forecastBytes;
  const held = planned.report.classes.filter(({ storage }) => storage === 'parameter' || storage === 'optimizer-state' || storage === 'gradient');
  const perParameter = held.reduce((sum, { bytes }) => sum + bytes, 0);
  const changes = planned.remedies().filter(({ bytes }) => bytes < needed).map(({ change, bytes }) => `${change} would need ${formatBytes(bytes)}.`);
  return [
    `Parameters${held.length > 1 ? ' with gradients and optimizer state' : ''} alone take ${formatBytes(perParameter)} of it.`,
    ...(needed <= freeBytes ? [`--memory ${roundUpBytes(needed)} would do: ${formatBytes(freeBytes)} are free.`] : []),
    ...changes,
  ];
}

/** The next tenth of a GiB (or whole MiB below one), as `--memory` takes it. */
function roundUpBytes(bytes: number): string {
  return bytes >= GIB ? `${(Math.ceil((bytes / GIB) * 10) / 10).toFixed(1)}GiB` : `${Math.ceil(bytes / MIB)}MiB`;
}

/** The techniques of a plan in one line: `micro-batch 1 × 8, recompute of 7 kinds × 30`. */
export function briefPlan(plan: TrainingPlan): string {
  return [...TECHNIQUES.map((technique) => technique.brief(plan)).filter((text) => text !== ''), `length ${plan.packing.rowLengths.at(-1)}`].join(', ');
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

/** Writes what a worker reads: the job, the schedule of rows and rates, the rows to evaluate on, and the finished model's files but its weights. */

import { copyFileSync, existsSync, linkSync, mkdirSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { BatchSource } from '../data/batches.ts';
import { EVENTS_FILE } from '../files/event-log.ts';
import { writeJson } from '../files/json.ts';
import { copyModelFiles } from '../files/model-files.ts';
import type { ModelConfig } from '../models/model-config.ts';
import type { Choice, StartEvent } from '../run/events.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { continueSchedule, learningRateAt, newSchedule, schedulePosition } from '../train/learning-rate.ts';
import { DTYPE_NAMES, savedDType, writeModelJson } from '../train/model-json.ts';
import { readTrainerState } from '../train/run-files.ts';
import { isDue, runLength, warmupSteps } from '../train/schedule.ts';
import { jobSchema, type TorchJob } from './job-schema.ts';
import type { PreparedTorchRun } from './prepare-torch-run.ts';
import { writeEvaluationRows, writeSchedule } from './schedule-file.ts';

/** The folder of the run that belongs to the worker. */
export const WORKER_FILES = 'torch';

export interface JobOptions {
  readonly runDirectory: string;
  /** Verified folder to go on from. */
  readonly checkpoint: string | undefined;
  /** Nobody watches the worker: it writes the run's events itself, and everything it reads lies in the run's folder. */
  readonly alone: boolean;
  /** To be told at the start. */
  readonly notices?: readonly string[];
}

/** Where the run starts and ends. */
interface RunSpan {
  readonly startStep: number;
  readonly totalSteps: number;
}

export function jobPathOf(runDirectory: string): string {
  return join(resolve(runDirectory), WORKER_FILES, 'job.json');
}

/** Throws E_CHECKPOINT when the data are laid out differently than when the checkpoint was written. */
export async function writeJob(prepared: PreparedTorchRun, options: JobOptions): Promise<TorchJob> {
  const { settings, model, data, plan } = prepared;
  const runDirectory = resolve(options.runDirectory);
  const folder = join(runDirectory, WORKER_FILES);
  const at = (name: string): string => join(folder, name);
  mkdirSync(folder, { recursive: true });
  await writeModelFiles(at('model-files'), prepared);
  const { span, notices, rowsPerEpoch } = writeRows(prepared, options.checkpoint, at('schedule.jsonl'));
  if (data.evaluation !== undefined) writeEvaluationRows(at('evaluation.jsonl'), data.evaluation, plan.packing);
  const job: TorchJob = {
    format: 'fulltune-torch-job', version: 1,
    settings: {
      logging_steps: settings.logging_steps, save_total_limit: settings.save_total_limit, load_best_model_at_end: settings.load_best_model_at_end,
      early_stopping_patience: settings.early_stopping_patience ?? null,
    },
    plan,
    model: {
      path: resolve(model.path), files: at('model-files'), flopsPerToken: modelFlopsPerToken(prepared),
      parameters: model.parameters.map((parameter) => ({ name: parameter.fileName, dtype: DTYPE_NAMES[savedDType(parameter, settings)] })),
    },
    paths: {
      runDirectory,
      tokenFile: options.alone || plan.worldSize > plan.ranksPerNode ? ownCopy(data.train.path, at('tokens.bin')) : resolve(data.train.path),
      schedule: at('schedule.jsonl'), evaluation: data.evaluation === undefined ? null : at('evaluation.jsonl'),
      events: options.alone ? join(runDirectory, EVENTS_FILE) : at('events.jsonl'),
      control: at('control'),
    },
    device: prepared.settings.device === 'cpu' && prepared.deviceGiven ? 'cpu' : 'auto',
    threads: settings.threads ?? null,
    timeoutSeconds: settings.rank_timeout ?? DEFAULT_TIMEOUT_SECONDS,
    launcher: options.alone ? null : { pid: process.pid, host: hostname() },
    checkpoint: options.checkpoint === undefined ? null : resolve(options.checkpoint),
    start: startEvent(prepared, { runDirectory: options.runDirectory, ...span, rowsPerEpoch, notices: [...notices, ...(options.notices ?? [])] }),
  };
  rmSync(job.paths.control, { recursive: true, force: true });
  mkdirSync(job.paths.control);
  writeJson(jobPathOf(runDirectory), jobSchema.parse(job));
  return job;
}

export const DEFAULT_TIMEOUT_SECONDS = 600;

async function writeModelFiles(folder: string, prepared: PreparedTorchRun): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  await copyModelFiles(prepared.model.path, folder);
  writeModelJson(folder, prepared, (parameter) => savedDType(parameter, prepared.settings));
}

/** The schedule from the checkpoint on, at the rates of the embedded engine. */
function writeRows({ settings, data, plan }: PreparedTorchRun, checkpoint: string | undefined, path: string): { readonly span: RunSpan; readonly notices: readonly string[]; readonly rowsPerEpoch: number } {
  const batches = batchSource({ settings, data, plan });
  const updatesInEpoch = (epoch: number): number => Math.ceil(batches.rowsInEpoch(epoch) / plan.batch.rowsPerUpdate);
  const { totalSteps } = runLength(settings, updatesInEpoch);
  const saved = checkpoint === undefined ? undefined : readTrainerState(checkpoint);
  if (saved !== undefined) batches.seek(saved.cursor);
  const startStep = saved?.global_step ?? 0;
  const { state: curve, notice } = continueSchedule(saved?.schedule ?? newSchedule(totalSteps), startStep, totalSteps);
  const rates = { schedule: settings.lr_scheduler_type, learningRate: settings.learning_rate, warmupSteps: warmupSteps(settings, curve.horizon), totalSteps: curve.horizon };
  writeSchedule(path, {
    file: data.train, batches, firstStep: startStep + 1, totalSteps, curve, updatesInEpoch,
    learningRate: (step) => learningRateAt(schedulePosition(curve, step), rates),
    isDue: (what, position) => (what === 'save' || data.evaluation !== undefined) && isDue(what === 'save' ? settings.save_steps : settings.eval_steps, { ...position, totalSteps }),
  });
  return { span: { startStep, totalSteps }, notices: notice === undefined ? [] : [notice], rowsPerEpoch: batches.rowsInEpoch(0) };
}

function batchSource({ settings, data, plan }: Pick<PreparedTorchRun, 'settings' | 'data' | 'plan'>): BatchSource {
  return new BatchSource({ file: data.train, ...plan.packing, ...plan.batch, seed: settings.seed, shuffle: settings.shuffle });
}

/** Steps of the whole run, before anything is written. */
export function totalStepsOf({ settings, data, plan }: Pick<PreparedTorchRun, 'settings' | 'data' | 'plan'>): number {
  const batches = batchSource({ settings, data, plan });
  return runLength(settings, (epoch) => Math.ceil(batches.rowsInEpoch(epoch) / plan.batch.rowsPerUpdate)).totalSteps;
}

/** 6N and causal attention: 6·L·H·K·T. Embeddings are looked up, not multiplied. */
function modelFlopsPerToken({ model, data }: PreparedTorchRun): number {
  const { config, parameters } = model;
  const multiplied = parameters.filter(({ kind }) => kind === 'matrix').reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const head = config.tiedHead ? config.vocabularySize * config.width : 0;
  return 6 * (multiplied + head) + 6 * attentionWidth(config) * data.maxLength;
}

function attentionWidth({ layers, heads, headWidth }: ModelConfig): number {
  return layers * heads * headWidth;
}

function startEvent(prepared: PreparedTorchRun, facts: RunSpan & { readonly runDirectory: string; readonly rowsPerEpoch: number; readonly notices: readonly string[] }): StartEvent {
  const { model, data, plan, choices, remarks } = prepared;
  const frozen = new Set(plan.frozen);
  const elements = (counts: (name: string) => boolean): number =>
    model.parameters.filter(({ name }) => counts(name)).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const { documents, tokens, trainedTokens, cut, split } = data.statistics;
  return {
    kind: 'start', runDirectory: facts.runDirectory,
    model: { name: model.name, type: model.config.modelType, parameters: elements(() => true), trained: elements((name) => !frozen.has(name)) },
    data: { documents, tokens, trainedTokens, cut, split, rowsPerEpoch: facts.rowsPerEpoch, rowLength: plan.packing.rowLengths.at(-1)! },
    batch: { ...plan.batch, ranks: plan.worldSize },
    totalSteps: facts.totalSteps, startStep: facts.startStep,
    device: 'torch',
    memory: null,
    choices, techniques: describePlan(plan).map(({ key, value }) => `${key}: ${value}`),
    notices: [...prepared.notices, ...model.config.notices, ...remarks, ...data.notices, ...facts.notices],
    example: data.example,
  };
}

/** One line per technique. */
export function describePlan(plan: TorchPlan): readonly Omit<Choice, 'reason'>[] {
  const { loss, recompute, optimizer } = plan;
  return [
    { key: 'ranks', value: plan.worldSize === 1 ? '1' : `${plan.worldSize}, ${plan.sharding}${plan.cpuOffload ? ' with shards on the host' : ''}` },
    { key: 'precision', value: plan.precision },
    { key: 'loss', value: loss.kind === 'whole' ? 'logits of the whole micro-batch' : `logits of at most ${loss.tokens} tokens at a time` },
    { key: 'optimizer', value: `${optimizer.kind}${plan.update === 'in-backward' ? ', in backward' : ''}` },
    { key: 'recompute', value: recompute.kind === 'layers' ? `the first ${recompute.layers} layers` : recompute.kind },
    { key: 'attention', value: plan.attention },
    ...(plan.compile ? [{ key: 'compile', value: 'each layer' }] : []),
    ...(plan.expected === undefined ? [] : [{ key: 'expected', value: `${Math.round(plan.expected.peakBytes / 2 ** 20)} MiB per rank` }]),
  ];
}

/** A link where the file system allows it. */
function ownCopy(from: string, to: string): string {
  if (existsSync(to)) rmSync(to);
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
  return to;
}

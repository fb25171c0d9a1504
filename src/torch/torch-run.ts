/** `train` and `resume` on PyTorch: the launcher's side of a run, which holds its folder while the worker's ranks train. */

import { basename, join, resolve } from 'node:path';
import { availableParallelism } from 'node:os';
import { FulltuneError } from '../base/errors.ts';
import { discardCheckpointsAfter, listCheckpoints, namedCheckpoint, newestCheckpoint, type Checkpoint } from '../files/checkpoint.ts';
import { checkDiskSpace } from '../files/disk.ts';
import { appendEvent, truncateEventsAfter } from '../files/event-log.ts';
import { checkOutputDirectory, CONFIG_FILE, createRunDirectory, PLAN_FILE, readRunFiles, writeRunFile } from '../files/run-directory.ts';
import { lockRun } from '../files/run-lock.ts';
import { parseConfig } from '../run/config-schema.ts';
import { configFromYaml, configToYaml } from '../run/config-yaml.ts';
import type { Choice, EndEvent, RunEvent } from '../run/events.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { isTorchPlan, parseTorchPlan } from '../run/torch-plan-schema.ts';
import { readTrainerState } from '../train/run-files.ts';
import { FIXED_KEYS, refuseChanges, storedConfig } from '../train/stored-config.ts';
import type { RunControl, RunResult } from '../train/trainer.ts';
import type { ResumeOptions } from '../train/training-run.ts';
import { revisedTorchPlan } from './default-plan.ts';
import { workerFailure } from './failure.ts';
import { jobPathOf, totalStepsOf, WORKER_FILES, writeJob } from './job.ts';
import { launchWorker } from './launch.ts';
import { prepareTorchRun, type PreparedTorchRun, type TorchPrepareOptions } from './prepare-torch-run.ts';
import { WORKER_FOLDER } from './python.ts';
import { torchrunLine, workerWords } from './torchrun.ts';

export interface TorchTrainOptions {
  /** Follow this plan instead of making one. */
  readonly plan?: TorchPlan;
  readonly choices?: readonly Choice[];
  readonly notices?: readonly string[];
}

/** A new run, from its beginning to its end. A mistake in config, model, data or Python is thrown before anything is written. */
export async function trainOnTorch(config: RunConfig, options: TorchTrainOptions, control: RunControl): Promise<RunResult> {
  if (config.output_dir !== undefined) checkOutputDirectory(config.output_dir);
  const prepared = await prepareTorchRun(config, { ...options, signal: control.signal, onProgress: control.emit });
  checkDisk(config.output_dir ?? 'runs', prepared);
  const { path, lock } = createRunDirectory(config.output_dir, { model: prepared.model.name, dataset: config.dataset });
  try {
    writeRun(path, config, prepared);
    return await work(path, prepared, undefined, control);
  } finally {
    lock.release();
  }
}

/** Whether the run in a folder is one on PyTorch; false for a folder that is no run. */
export function isTorchRun(runDirectory: string): boolean {
  try {
    return isTorchPlan(readRunFiles(runDirectory).plan);
  } catch (error) {
    if (error instanceof FulltuneError) return false;
    throw error;
  }
}

/** Goes on from a checkpoint, on as many ranks as the settings say now. */
export async function resumeOnTorch(runDirectory: string, changes: Partial<RunConfig>, options: Omit<ResumeOptions, 'signal'>, control: RunControl): Promise<RunResult> {
  const lock = lockRun(requireRun(runDirectory));
  try {
    const { prepared, checkpoint } = await prepareResume(runDirectory, changes, options, { signal: control.signal, onProgress: control.emit });
    return await work(runDirectory, prepared, checkpoint?.path, control);
  } finally {
    lock.release();
  }
}

/** Everything before the first step of a run that goes on: what the checkpoint leaves no room for is removed, config and plan are written anew. */
export async function prepareResume(
  runDirectory: string, changes: Partial<RunConfig>, { checkpoint: name, replan = false }: Omit<ResumeOptions, 'signal'>, options: Omit<TorchPrepareOptions, 'plan'>,
): Promise<{ readonly prepared: PreparedTorchRun; readonly checkpoint: Checkpoint | undefined }> {
  const { configText, plan: json } = readRunFiles(runDirectory);
  const before = configFromYaml(configText, join(runDirectory, CONFIG_FILE));
  refuseChanges(before, changes, [...FIXED_KEYS, 'engine']);
  const config = parseConfig({ ...before, ...changes }, join(runDirectory, CONFIG_FILE));
  const stored = parseTorchPlan(json, join(runDirectory, PLAN_FILE));
  const checkpoint = name === undefined ? await newestCheckpoint(runDirectory, { verify: true }) : await namedCheckpoint(runDirectory, name);
  const prepared = await prepareTorchRun({ nproc_per_node: stored.ranksPerNode, nnodes: stored.worldSize / stored.ranksPerNode, ...config }, {
    ...options,
    ...(replan || changes.memory !== undefined ? { rowsPerUpdate: stored.batch.rowsPerUpdate } : { plan: (request) => revisedTorchPlan(stored, changes, request) }),
  });
  requireStepsLeft(runDirectory, checkpoint?.path, prepared);
  checkDisk(runDirectory, prepared);
  writeRun(runDirectory, config, prepared);
  await discardCheckpointsAfter(runDirectory, checkpoint?.step ?? 0);
  await truncateEventsAfter(runDirectory, checkpoint?.step ?? 0);
  return { prepared, checkpoint };
}

/** Throws E_RUN for a folder that is no run, before anything is put there. */
function requireRun(runDirectory: string): string {
  readRunFiles(runDirectory);
  return runDirectory;
}

/** config.yaml names the engine: a run stays on the one that it began on. */
export function writeRun(path: string, config: RunConfig, { plan }: PreparedTorchRun): void {
  writeRunFile(path, CONFIG_FILE, configToYaml(storedConfig({ ...config, engine: 'torch' }, path)));
  writeRunFile(path, PLAN_FILE, `${JSON.stringify(plan, null, 2)}\n`);
}

/** Launches the worker and waits for its end; a failure names the last complete checkpoint. */
async function work(runDirectory: string, prepared: PreparedTorchRun, checkpoint: string | undefined, control: RunControl): Promise<RunResult> {
  const { plan, settings, python } = prepared;
  const runId = basename(resolve(runDirectory));
  const command = { plan, jobPath: jobPathOf(runDirectory), rendezvous: settings.rdzv_endpoint, runId };
  const others = plan.worldSize / plan.ranksPerNode - 1;
  const notices = others === 0 ? [] : [`start on each of the other ${others} nodes, which share this folder: ${torchrunLine(python, WORKER_FOLDER, command)}`];
  const job = await writeJob(prepared, { runDirectory, checkpoint, alone: false, notices });
  prepared.data.train.close();
  prepared.data.evaluation?.close();
  const logPath = join(runDirectory, WORKER_FILES, 'worker.log');
  const seen: { end?: EndEvent; loss: number | null; evalLoss: number | null } = { loss: null, evalLoss: null };
  /** Who asked for a checkpoint. */
  let waiting: ((path: string) => void)[] = [];
  const onEvent = (event: RunEvent): void => {
    if (event.kind === 'step') seen.loss = event.loss;
    if (event.kind === 'eval') seen.evalLoss = event.loss;
    if (event.kind === 'end') seen.end = event;
    appendEvent(runDirectory, event);
    control.emit(event);
    if (event.kind !== 'checkpoint') return;
    for (const settle of waiting) settle(event.path);
    waiting = [];
  };
  const end = await launchWorker({
    python, logPath, signal: control.signal, onEvent,
    words: workerWords(command),
    threadsPerRank: Math.floor((settings.threads ?? availableParallelism()) / plan.ranksPerNode),
    eventsPath: job.paths.events, controlFolder: job.paths.control, timeoutSeconds: job.timeoutSeconds,
    wantsCheckpoint: () => {
      const requests = control.takeCheckpointRequests();
      waiting.push(...requests);
      return requests.length > 0;
    },
  });
  const newest = listCheckpoints(runDirectory).at(-1);
  if (newest !== undefined) for (const settle of waiting) settle(newest.path);
  if (seen.end === undefined || end.code !== 0) {
    const failure = workerFailure({ plan, runDirectory, checkpoint: newest, signs: end.signs, exit: end, silentSeconds: end.silentSeconds, logPath });
    appendEvent(runDirectory, { kind: 'warning', message: failure.message });
    throw failure;
  }
  return resultOf(runDirectory, seen.end, seen.loss, seen.evalLoss);
}

function resultOf(runDirectory: string, end: EndEvent, lastLoss: number | null, evalLoss: number | null): RunResult {
  const { reason, modelPath, modelStep, step, plannedBytes, peakResidentBytes, predictedStepMs, measuredStepMs, suggestedMemoryBytes, seconds } = end;
  const newest = listCheckpoints(runDirectory).at(-1);
  const best = newest === undefined ? null : readTrainerState(newest.path).best_global_step;
  return {
    reason, runDirectory, modelPath, step, lastLoss, evalLoss, bestStep: modelStep !== null && modelStep !== step ? modelStep : best, plannedBytes, peakResidentBytes,
    predictedStepMs, measuredStepMs, suggestedMemoryBytes, seconds,
  };
}

function requireStepsLeft(runDirectory: string, checkpoint: string | undefined, prepared: PreparedTorchRun): void {
  if (checkpoint === undefined) return;
  const step = readTrainerState(checkpoint).global_step;
  if (step < totalStepsOf(prepared)) return;
  throw new FulltuneError('E_RUN', `the run is finished: all ${step} steps are done`, { where: runDirectory, remedy: 'To train further, resume with a larger --max-steps or --num-train-epochs.' });
}

/** Checkpoints hold weights and two moments in f32 at most; one more than is kept exists while the newest is written. */
function checkDisk(folder: string, { model, settings, plan }: PreparedTorchRun): void {
  const elements = model.parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const count = settings.save_total_limit + (settings.load_best_model_at_end ? 2 : 1);
  const bytes = elements * (plan.precision === 'bf16-weights' ? 6 : 12);
  checkDiskSpace(folder, count * bytes + 4 * elements, `${count} checkpoints and the finished model`);
}

/**
 * `train` and `resume`: a run that starts at once, tells its events to whoever listens, can be asked for a checkpoint, and is stopped by a
 * signal or by disposing of it.
 */

import { join } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import { discardCheckpointsAfter, namedCheckpoint, newestCheckpoint, type Checkpoint } from '../files/checkpoint.ts';
import { appendEvent, truncateEventsAfter } from '../files/event-log.ts';
import { checkOutputDirectory, CONFIG_FILE, createRunDirectory, openRun, PLAN_FILE, writeRunFile } from '../files/run-directory.ts';
import { lockRun } from '../files/run-lock.ts';
import { parseConfig } from '../run/config-schema.ts';
import { configFromYaml, configToYaml } from '../run/config-yaml.ts';
import type { Choice, RunEvent } from '../run/events.ts';
import { withoutGraphs, type ChoosePlan } from '../compile/planned-run.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { EventStream } from './event-stream.ts';
import { optimizer } from '../techniques/optimizer.ts';
import { requireFit } from './budget.ts';
import { prepareRun, type PreparedRun } from './prepare-run.ts';
import { checkRunDisk, RunFiles } from './run-files.ts';
import { keepHeapSmall } from './small-heap.ts';
import { FIXED_KEYS, refuseChanges, storedConfig } from './stored-config.ts';
import { trainRun, type RunControl, type RunResult } from './trainer.ts';

export interface TrainOptions {
  /** Stops the run where nothing is half done; it saves a checkpoint first. */
  readonly signal?: AbortSignal;
  /** Follow this plan, of the engine that it is for, instead of making one. */
  readonly plan?: TrainingPlan | TorchPlan;
}

export interface EmbeddedOptions {
  readonly plan?: TrainingPlan;
  /** What was decided before, to be told with the rest. */
  readonly choices?: readonly Choice[];
  readonly notices?: readonly string[];
}

export interface ResumeOptions {
  readonly signal?: AbortSignal;
  /** `checkpoint-40`; default the newest. Later ones are removed. */
  readonly checkpoint?: string;
  /** Make a new plan for the memory that there is now. Also done when `memory` changes; otherwise the stored plan is kept. */
  readonly replan?: boolean;
}

/** Besides what no engine can change: here the micro-batch decides how sums are cut. */
const FIXED = [...FIXED_KEYS, 'per_device_train_batch_size', 'gradient_accumulation_steps'] as const satisfies readonly (keyof RunConfig)[];

export class TrainingRun implements AsyncIterable<RunEvent>, AsyncDisposable {
  /** Settles when the run has ended and its files are closed. */
  readonly result: Promise<RunResult>;
  private readonly stream = new EventStream();
  private readonly stopping = new AbortController();
  private requests: { readonly resolve: (path: string) => void; readonly reject: (error: unknown) => void }[] = [];
  private ended = false;

  /** Starts `body` at once. */
  constructor(body: (control: RunControl) => Promise<RunResult>, signal: AbortSignal | undefined) {
    const control: RunControl = {
      signal: signal === undefined ? this.stopping.signal : AbortSignal.any([signal, this.stopping.signal]),
      emit: (event) => this.stream.push(event),
      takeCheckpointRequests: () => {
        const taken = this.requests;
        this.requests = [];
        return taken.map(({ resolve }) => resolve);
      },
    };
    this.result = body(control).then(
      (result) => {
        this.close(undefined);
        return result;
      },
      (error: unknown) => {
        this.close({ error });
        throw error;
      },
    );
    this.result.catch(() => undefined); // a caller who only reads events sees the failure there
  }

  private close(failure: { readonly error: unknown } | undefined): void {
    this.ended = true;
    this.stream.close(failure);
    for (const { reject } of this.requests) reject(failure?.error ?? new FulltuneError('E_RUN', 'the run ended before the checkpoint was written'));
  }

  [Symbol.asyncIterator](): AsyncGenerator<RunEvent, void, void> {
    return this.stream[Symbol.asyncIterator]();
  }

  /** Writes a checkpoint after the step under way; its path. */
  checkpoint(): Promise<string> {
    if (this.ended) return Promise.reject(new FulltuneError('E_RUN', 'the run has ended'));
    return new Promise((resolve, reject) => this.requests.push({ resolve, reject }));
  }

  /** Stops the run, waits until it has saved, and swallows no failure but its own stop. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stopping.abort();
    await this.result.catch(() => undefined);
  }
}

/** A new run, from its beginning to its end. A mistake in config, model or data is thrown before anything is written. */
export async function trainEmbedded(config: RunConfig, choose: ChoosePlan, { plan, choices = [], notices = [] }: EmbeddedOptions, control: RunControl): Promise<RunResult> {
  if (config.output_dir !== undefined) checkOutputDirectory(config.output_dir);
  const prepared = lean(requireFit(await prepareRun(config, { signal: control.signal, plan: plan ?? choose, choices, notices, onProgress: control.emit })));
  checkRunDisk(config.output_dir ?? 'runs', prepared);
  const { path, lock } = createRunDirectory(config.output_dir, { model: prepared.model.name, dataset: config.dataset });
  try {
    const files = new RunFiles(path, prepared, undefined);
    writeRunFile(path, CONFIG_FILE, configToYaml(storedConfig(config, path)));
    writeRunFile(path, PLAN_FILE, `${JSON.stringify(prepared.planned.plan, null, 2)}\n`);
    return await runAndLog(prepared, files, control);
  } finally {
    lock.release();
  }
}

/** Goes on with a run from its newest checkpoint, or from its beginning when it has none, bit for bit as if it had not been interrupted. */
export async function resumeEmbedded(
  runDirectory: string, choose: ChoosePlan, changes: Partial<RunConfig>, options: Omit<ResumeOptions, 'signal'>, control: RunControl,
): Promise<RunResult> {
  const stored = await openRun(runDirectory);
  const before = configFromYaml(stored.configText, join(runDirectory, CONFIG_FILE));
  refuseChanges(before, changes, FIXED);
  const config = parseConfig({ ...before, ...changes }, join(runDirectory, CONFIG_FILE));
  const lock = lockRun(runDirectory);
  try {
    const checkpoint = await startingCheckpoint(runDirectory, options.checkpoint);
    const replan = options.replan === true || (changes.memory !== undefined && changes.memory !== before.memory);
    const prepared = lean(requireFit(await prepareRun(config, {
      plan: replan ? choose : continuedPlan(stored.plan, config), keep: stored.plan, signal: control.signal, onProgress: control.emit,
    })));
    const files = new RunFiles(runDirectory, prepared, checkpoint?.path);
    checkRunDisk(runDirectory, prepared);
    writeRunFile(runDirectory, CONFIG_FILE, configToYaml(storedConfig(config, runDirectory)));
    writeRunFile(runDirectory, PLAN_FILE, `${JSON.stringify(prepared.planned.plan, null, 2)}\n`);
    await discardCheckpointsAfter(runDirectory, checkpoint?.step ?? 0);
    await truncateEventsAfter(runDirectory, checkpoint?.step ?? 0);
    return await runAndLog(prepared, files, control);
  } finally {
    lock.release();
  }
}

/** A run holds no graphs while it trains. */
function lean(prepared: PreparedRun): PreparedRun {
  return { ...prepared, planned: withoutGraphs(prepared.planned) };
}

/**
 * The stored plan with the rates of the optimizer and the clipping that the settings say now, and with values in a file where they say so (where
 * values live changes no bit); what it has chosen otherwise stays.
 */
function continuedPlan(plan: TrainingPlan, config: RunConfig): TrainingPlan {
  const settings = resolveSettings(config);
  // Of what the settings name or allow, the optimizer that the run has.
  const asked = optimizer.values({ settings, maxLength: 0, bucketLengths: [], rowsPerEpoch: 0 }).find(({ kind }) => kind === plan.optimizer.kind);
  const { optimizerState, activationLayers } = plan.offload;
  return {
    ...plan,
    maxGradNorm: settings.max_grad_norm,
    offload: { optimizerState: config.offload_optimizer_state ?? optimizerState, activationLayers: config.offload_activation_layers ?? activationLayers },
    ...(asked === undefined ? {} : { optimizer: asked }),
  };
}

async function startingCheckpoint(runDirectory: string, name: string | undefined): Promise<Checkpoint | undefined> {
  return name === undefined ? newestCheckpoint(runDirectory, { verify: true }) : namedCheckpoint(runDirectory, name);
}

async function runAndLog(prepared: PreparedRun, files: RunFiles, control: RunControl): Promise<RunResult> {
  const letHeapGrow = await keepHeapSmall();
  try {
    return await trainRun(prepared, files, {
      ...control,
      emit: (event) => {
        appendEvent(files.directory, event);
        control.emit(event);
      },
    });
  } finally {
    letHeapGrow();
    prepared.data.train.close();
    prepared.data.evaluation?.close();
  }
}

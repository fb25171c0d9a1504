/**
 * What a run reads when it starts and leaves behind: base weights or a checkpoint in, checkpoints and the finished model out.
 * trainer_state.json holds the step, the data cursor, and the log in transformers' own form (`log_history`).
 */

import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { Cursor } from '../data/batches.ts';
import { finishModel, namedCheckpoint, rotateCheckpoints, writeCheckpoint } from '../files/checkpoint.ts';
import { checkDiskSpace } from '../files/disk.ts';
import { copyModelFiles } from '../files/model-files.ts';
import { readJson, writeJson } from '../files/json.ts';
import { dtypeBytes } from '../graph/dtype.ts';
import { byteCount, elementCount } from '../graph/shape.ts';
import type { CheckpointEvent, StepEvent } from '../run/events.ts';
import type { StorageClass } from '../run/storage-class.ts';
import { NO_EVALUATION, type BestState } from './best-model.ts';
import type { ScheduleState } from './learning-rate.ts';
import type { LossScaleState } from './loss-scale.ts';
import { savedDType, writeModelJson } from './model-json.ts';
import type { PreparedRun } from './prepare-run.ts';
import type { TrainingState } from './training-state.ts';
import { isFloatDType, readOptimizerState, readWeights, writeOptimizerState, writeWeights, type FloatDType } from './weights.ts';

type LogEntry = Readonly<Record<string, number>>;

/** Keys as in transformers where it has them. */
export interface TrainerState {
  readonly version: 1;
  readonly global_step: number;
  readonly epoch: number;
  readonly best_metric: number | null;
  readonly best_global_step: number | null;
  readonly evaluations_without_improvement: number;
  readonly schedule: ScheduleState;
  readonly cursor: Cursor;
  readonly loss_scale?: LossScaleState;
  readonly log_history: readonly LogEntry[];
}

export interface StartingPoint {
  readonly step: number;
  readonly cursor: Cursor | undefined;
  readonly schedule: ScheduleState | undefined;
  readonly evaluations: BestState;
  readonly lossScale: LossScaleState | undefined;
}

/** What a checkpoint holds besides weights and optimizer state. */
export interface RunPosition {
  readonly step: number;
  readonly cursor: Cursor;
  readonly schedule: ScheduleState;
  readonly evaluations: BestState;
  readonly lossScale: LossScaleState | undefined;
}

export class RunFiles {
  readonly directory: string;
  private readonly prepared: PreparedRun;
  private readonly checkpoint: string | undefined;
  private log: LogEntry[] = [];
  private epoch = 0;
  /** Step of the newest checkpoint that this process wrote or started from. */
  savedStep: number | undefined;

  /** `checkpoint`: the verified folder to start from; without it the run starts from the base model. */
  constructor(directory: string, prepared: PreparedRun, checkpoint: string | undefined) {
    this.directory = directory;
    this.prepared = prepared;
    this.checkpoint = checkpoint;
  }

  /** Whether the finished model is there. */
  get finished(): boolean {
    return existsSync(join(this.directory, 'model'));
  }

  /** Fills weights and state. */
  async restore(state: TrainingState): Promise<StartingPoint> {
    const { model } = this.prepared;
    if (this.checkpoint === undefined) {
      await readWeights(state, model.path, model.parameters);
      return { step: 0, cursor: undefined, schedule: undefined, evaluations: NO_EVALUATION, lossScale: undefined };
    }
    const saved = readTrainerState(this.checkpoint);
    await readWeights(state, this.checkpoint, model.parameters);
    await readOptimizerState(state, join(this.checkpoint, 'optimizer.safetensors'));
    this.log = [...saved.log_history];
    this.epoch = saved.epoch;
    this.savedStep = saved.global_step;
    const { best_metric: loss, best_global_step: step, evaluations_without_improvement: without } = saved;
    return {
      step: saved.global_step, cursor: saved.cursor, schedule: saved.schedule,
      evaluations: { best: loss === null || step === null ? undefined : { step, loss }, without },
      lossScale: saved.loss_scale,
    };
  }

  /** Notes a step for `log_history`. */
  record({ step, epoch, loss, gradientNorm, learningRate }: StepEvent): void {
    this.epoch = epoch;
    this.log.push({ step, epoch, loss, ...(gradientNorm === null ? {} : { grad_norm: gradientNorm }), learning_rate: learningRate });
  }

  /** Takes the weights of an earlier checkpoint of this run, for the finished model. */
  async restoreWeights(state: TrainingState, step: number): Promise<void> {
    const { path } = await namedCheckpoint(this.directory, `checkpoint-${step}`);
    await readWeights(state, path, this.prepared.model.parameters);
  }

  async saveCheckpoint(state: TrainingState, { step, cursor, schedule, evaluations, lossScale }: RunPosition): Promise<CheckpointEvent> {
    const started = performance.now();
    const { settings, model } = this.prepared;
    const { best, without } = evaluations;
    const trainerState: TrainerState = {
      version: 1, global_step: step, epoch: this.epoch, best_metric: best?.loss ?? null, best_global_step: best?.step ?? null,
      evaluations_without_improvement: without, schedule, cursor,
      ...(lossScale === undefined ? {} : { loss_scale: lossScale }), log_history: this.log,
    };
    const { path, bytes } = await writeCheckpoint(this.directory, step, async (folder) => {
      await copyModelFiles(model.path, folder);
      writeModelJson(folder, this.prepared, ({ name }) => heldDType(state, name));
      const weights = await writeWeights(state, folder, model.parameters, ({ name }) => heldDType(state, name));
      const optimizer = await writeOptimizerState(state, join(folder, 'optimizer.safetensors'));
      writeJson(join(folder, 'trainer_state.json'), trainerState);
      return Object.fromEntries([...weights, optimizer].map((file) => [basename(file.path), file.sha256]));
    });
    this.savedStep = step;
    const protect = settings.load_best_model_at_end && best !== undefined ? [best.step] : [];
    await rotateCheckpoints(this.directory, settings.save_total_limit, { protect });
    return { kind: 'checkpoint', step, path, bytes, saveMs: performance.now() - started };
  }

  /** Writes `model/`: loads in transformers as it is. Returns its path. */
  async saveModel(state: TrainingState): Promise<string> {
    const { model, settings } = this.prepared;
    return finishModel(this.directory, async (folder) => {
      await copyModelFiles(model.path, folder);
      writeModelJson(folder, this.prepared, (parameter) => savedDType(parameter, settings));
      await writeWeights(state, folder, model.parameters, (parameter) => savedDType(parameter, settings));
    });
  }
}

/** Refuses a disk that could not hold all checkpoints and the finished model: before step 1, not at step 2,321. */
export function checkRunDisk(folder: string, prepared: PreparedRun): void {
  const { settings, model, planned } = prepared;
  const { persistent, filed, fileBytes } = planned.compiled.memory;
  const blocks = [...persistent.values(), ...filed.values()];
  const bytesOf = (storage: StorageClass): number => blocks.filter(({ value }) => value.storage === storage).reduce((sum, { value }) => sum + byteCount(value), 0);
  const checkpoint = bytesOf('parameter') + bytesOf('optimizer-state');
  const finished = model.parameters.reduce((sum, parameter) => sum + elementCount(parameter.shape) * dtypeBytes(savedDType(parameter, settings)), 0);
  // One more than is kept, for the oldest goes only after the newest is complete; and the best one.
  const count = settings.save_total_limit + (settings.load_best_model_at_end ? 2 : 1);
  const offloaded = fileBytes === 0 ? '' : `, ${formatBytes(fileBytes)} of offloaded values`;
  const what = `${count} checkpoints of ${formatBytes(checkpoint)}${offloaded} and the finished model of ${formatBytes(finished)}`;
  checkDiskSpace(folder, count * checkpoint + fileBytes + finished, what);
}

/** A checkpoint keeps each parameter in the type that it has in memory: nothing is lost. */
function heldDType(state: TrainingState, name: string): FloatDType {
  const { dtype } = state.block(name).value;
  if (!isFloatDType(dtype)) throw new RangeError(`parameter '${name}' is held as ${dtype}`);
  return dtype;
}

export function readTrainerState(checkpoint: string): TrainerState {
  const where = join(checkpoint, 'trainer_state.json');
  const state = readJson(where);
  if (state['version'] !== 1 || typeof state['global_step'] !== 'number' || !Array.isArray(state['log_history']) || typeof state['cursor'] !== 'object') {
    throw new FulltuneError('E_CHECKPOINT', `trainer_state.json is of version ${String(state['version'])}; this fulltune reads version 1`, { where });
  }
  return state as unknown as TrainerState;
}

/** What `plan(config, { device })` does for a device that is not this machine: model and data are read here, the plan is made by `plan-torch.ts`. */

import { basename } from 'node:path';
import { existsSync } from 'node:fs';
import { FulltuneError } from '../base/errors.ts';
import { BatchSource } from '../data/batches.ts';
import { prepareData, type DataStatistics } from '../data/prepare.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import { parsePlanConfig } from '../run/config-schema.ts';
import type { Choice, ProgressEvent } from '../run/events.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { Settings } from '../run/run-config.ts';
import { describeModel, type ModelDirectory } from '../train/model-directory.ts';
import { frozenParameters } from '../train/prepare-inputs.ts';
import type { PlanConfig } from '../train/plan-run.ts';
import { runLength } from '../train/schedule.ts';
import { tokenCache } from '../train/token-cache.ts';
import { nodeLinkGBps, parseDevice, type DeviceSpec } from './device-spec.ts';
import { countShape, shapeOfConfig, type ModelShape } from './model-shape.ts';
import { planTorch, type PlannedTorch } from './plan-torch.ts';
import { findPublicModel, unknownModel } from './public-models.ts';
import { rowsOf } from './torch-rows.ts';
import { budgetOfDevice, countFrozen, torchRequest, type FrozenParameters } from './torch-request.ts';

export interface DevicePlanResult extends Omit<PlannedTorch, 'fits'> {
  readonly kind: 'fits' | 'too-small';
  readonly engine: 'torch';
  readonly device: Pick<DeviceSpec, 'name' | 'memoryBytes' | 'worldSize' | 'devicesPerNode'>;
  /** What one device may hold: all of it, or `memory`. */
  readonly budgetBytes: number;
  readonly model: { readonly name: string; readonly type: string; readonly parameters: number };
  /** Undefined when planning without data: rows are then taken to be full. */
  readonly data: (DataStatistics & { readonly maxLength: number; readonly rowsPerEpoch: number }) | undefined;
  readonly rowLength: number;
  readonly totalSteps: number | undefined;
  readonly stepMs: number;
  readonly tokensPerSecond: number;
  readonly choices: readonly Choice[];
  readonly notices: readonly string[];
}

export interface PlanDeviceOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ProgressEvent) => void;
}

interface FoundModel {
  readonly shape: ModelShape;
  readonly type: string;
  /** Undefined for a public model that is not on this machine. */
  readonly directory: ModelDirectory | undefined;
  readonly notices: readonly string[];
}

/** Throws what plan() throws, and E_CONFIG for a device that nobody knows. Not fitting is a value. */
export async function planDevice(config: PlanConfig, deviceText: string, options: PlanDeviceOptions = {}): Promise<DevicePlanResult> {
  const device = parseDevice(deviceText);
  const { per_device_train_batch_size: _micro, gradient_accumulation_steps: _steps, device: _device, dataset, ...rest } = parsePlanConfig(config);
  const settings = resolveSettings({ ...rest, dataset: dataset === '' ? '' : resolveDatasetPath(dataset) });
  const found = findModel(settings.model);
  const { shape, directory } = found;
  const prepared = dataset === '' ? undefined : await readData(settings, found, options);
  const rowLength = prepared?.maxLength ?? settings.max_length ?? Math.min(1024, directory === undefined ? shape.maxPositions : longestRow(directory.config));
  const rows = rowsOf(config, device.worldSize, rowLength);
  const frozen = frozenOf(settings, directory);
  const planned = planTorch(torchRequest({ settings, shape, device, rowLength, bucketLengths: prepared?.bucketLengths ?? [rowLength], rows, frozen }));
  const { fits, ...facts } = planned;
  const { batch } = planned.plan;
  let totalSteps: number | undefined;
  let data: DevicePlanResult['data'];
  if (prepared !== undefined) {
    const { train, statistics, maxLength } = prepared;
    const source = new BatchSource({ file: train, ...planned.plan.packing, ...batch, seed: settings.seed, shuffle: settings.shuffle });
    data = { ...statistics, maxLength, rowsPerEpoch: source.rowsInEpoch(0) };
    totalSteps = runLength(settings, (epoch) => Math.ceil(source.rowsInEpoch(epoch) / batch.rowsPerUpdate)).totalSteps;
    train.close();
    prepared.evaluation?.close();
  }
  return {
    kind: fits ? 'fits' : 'too-small', engine: 'torch', ...facts, device: { name: device.name, memoryBytes: device.memoryBytes, worldSize: device.worldSize, devicesPerNode: device.devicesPerNode },
    budgetBytes: budgetOfDevice(settings, device),
    model: { name: shape.name, type: found.type, parameters: countShape(shape).total }, data, rowLength, totalSteps, stepMs: planned.time.updateMs, tokensPerSecond: planned.time.tokensPerSecond,
    choices: choicesOf(config, { rowLength, rowsPerUpdate: batch.rowsPerUpdate, reason: prepared?.maxLengthReason }),
    notices: [...found.notices, ...lengthNotices(found, rowLength), ...(prepared?.notices ?? [`planned without data: rows of ${rowLength} tokens, all full, every token with loss`]), ...deviceNotices(device, planned, batch)],
  };
}

/** A folder, a model of the local Hugging Face cache, or one of the table. */
function findModel(text: string): FoundModel {
  const listed = findPublicModel(text);
  try {
    const directory = describeModel(text);
    return { shape: shapeOfConfig(directory.name, directory.config), type: directory.config.modelType, directory, notices: directory.config.notices };
  } catch (error) {
    const isAbsent = error instanceof FulltuneError && (error.code === 'E_HUB' || (error.code === 'E_MODEL' && !existsSync(text)));
    if (!isAbsent) throw error;
    if (listed === undefined) throw unknownModel(text, error);
    return { shape: listed.shape, type: listed.architecture, directory: undefined, notices: [] };
  }
}

async function readData(settings: Settings, { directory, shape }: FoundModel, options: PlanDeviceOptions): ReturnType<typeof prepareData> {
  if (directory === undefined) {
    throw new FulltuneError('E_CONFIG', `${shape.name} is known by its sizes alone: without its tokenizer the dataset cannot be read`, {
      where: 'dataset', remedy: 'Leave --dataset out (rows are then taken to be full), or give the folder of the model.',
    });
  }
  return prepareData({
    settings, modelDirectory: directory.path, vocabularySize: shape.vocabularySize, modelMaxLength: settings.max_length === undefined ? longestRow(directory.config) : shape.maxPositions,
    workDirectory: tokenCache(), ...(options.signal === undefined ? {} : { signal: options.signal }),
    onProgress: ({ dataset, bytesRead, totalBytes }) => options.onProgress?.({ kind: 'progress', what: 'tokenising', dataset: basename(dataset), doneBytes: bytesRead, totalBytes }),
  });
}

function frozenOf({ freeze }: Settings, directory: ModelDirectory | undefined): FrozenParameters {
  if (freeze.length === 0) return { names: [], count: 0 };
  if (directory === undefined) throw new FulltuneError('E_CONFIG', 'freeze names parameters, and of this model only the sizes are known', { where: 'freeze', remedy: 'Give the folder of the model: its config.json is enough.' });
  return countFrozen(frozenParameters(freeze, directory), directory);
}

function lengthNotices({ directory, shape }: FoundModel, rowLength: number): readonly string[] {
  if (directory !== undefined) return checkLength(directory.config, rowLength);
  if (rowLength <= shape.maxPositions) return [];
  if (shape.learnedPositions > 0) {
    throw new FulltuneError('E_MODEL', `rows of ${rowLength} tokens exceed the model's table of ${shape.maxPositions} positions`, { where: 'max_length', remedy: `Set max_length to ${shape.maxPositions} or less.` });
  }
  return [`rows of ${rowLength} tokens are longer than the ${shape.maxPositions} that the model was made for`];
}

function choicesOf(config: PlanConfig, { rowLength, rowsPerUpdate, reason }: { readonly rowLength: number; readonly rowsPerUpdate: number; readonly reason: string | undefined }): readonly Choice[] {
  const { max_length: length, train_batch_size: rows, train_batch_tokens: tokens, per_device_train_batch_size: micro, gradient_accumulation_steps: steps } = config;
  return [
    ...(length === undefined ? [{ key: 'max_length', value: String(rowLength), reason: reason ?? 'the least of 1024 and the limit of the model' }] : []),
    ...(rows === undefined && tokens === undefined && (micro === undefined || steps === undefined) ? [{ key: 'train_batch_size', value: String(rowsPerUpdate), reason: micro === undefined && steps === undefined ? 'the default' : 'as many as the micro-batches hold' }] : []),
  ];
}

/** What the figures of this device rest on. */
function deviceNotices({ accelerator, worldSize, devicesPerNode }: DeviceSpec, { plan, memory }: PlannedTorch, batch: PlannedTorch['plan']['batch']): readonly string[] {
  const ignored = batch.microBatchSize * batch.accumulationSteps * worldSize - batch.rowsPerUpdate;
  const wantsBf16 = plan.precision === 'bf16' || plan.precision === 'bf16-weights';
  return [
    ...(accelerator.remark === '' ? [] : [`${accelerator.name}: ${accelerator.remark}`]),
    ...(wantsBf16 && !accelerator.hasBf16 ? [`${accelerator.name} computes bf16 no faster than f32: fp16 would be fast`] : []),
    ...(accelerator.family === 'tpu' ? ['XLA plans its own buffers: on TPUs the memory formulas, made for PyTorch on CUDA, have no measurement behind them'] : []),
    ...(accelerator.family === 'mps' ? ["on Apple's GPUs the memory formulas, made for PyTorch on CUDA, have no measurement behind them"] : []),
    ...(worldSize > devicesPerNode ? [`between nodes ${nodeLinkGBps(accelerator)} GB/s per device are taken (one link of ${nodeLinkGBps(accelerator) * 8} Gbit/s each)`] : []),
    ...(ignored > 0 ? [`${ignored} of ${ignored + batch.rowsPerUpdate} rows of an update are filling that is ignored: a multiple of ${worldSize} rows would waste none`] : []),
    ...(plan.cpuOffload ? [`each node needs ${(memory.hostBytes / 2 ** 30).toFixed(1)} GiB of its own memory for what is offloaded`] : []),
  ];
}

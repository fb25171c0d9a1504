/** Which plans of a PyTorch run the settings leave: one value per technique, in the order in which they are preferred. */

import { FulltuneError } from '../base/errors.ts';
import type { Settings } from '../run/run-config.ts';
import { torchPlanContradiction } from '../run/torch-plan-schema.ts';
import type { TorchLoss, TorchPlan, TorchPrecision, TorchRecompute } from '../run/torch-plan.ts';
import type { DeviceSpec } from './device-spec.ts';
import type { ModelShape } from './model-shape.ts';
import { torchOptimizers } from './torch-optimizer.ts';

/** What a plan for GPUs is made from. Needs no file and no device, so it also runs in a browser. */
export interface TorchRequest {
  readonly settings: Settings;
  readonly shape: ModelShape;
  readonly device: DeviceSpec;
  /** T, the longest row; memory and time are those of it. */
  readonly rowLength: number;
  /** Row lengths where documents are not packed, ascending. */
  readonly bucketLengths: readonly number[];
  /** Of one update, on all ranks. */
  readonly rowsPerUpdate: number;
  /** As the settings fix them; left out: chosen. */
  readonly microBatchSize?: number;
  readonly accumulationSteps?: number;
  /** What a device may hold. */
  readonly memoryBytes: number;
  readonly frozen: readonly string[];
  readonly frozenParameters: number;
  /** What the user wants of the technique's values that only PyTorch has. */
  readonly pinned?: Partial<Pick<TorchPlan, 'sharding' | 'cpuOffload' | 'attention' | 'compile'>>;
}

/** A plan, and the names of what changes the numbers in it although the settings do not ask for it. */
export interface TorchCandidatePlan {
  readonly plan: TorchPlan;
  readonly changed: readonly string[];
}

/** Tokens of one slice of the loss: 0.5 GB of f32 logits at a vocabulary of 128 thousand. */
const LOSS_TOKENS = 1024;
/** Into how many steps recompute is cut between no layer and all. */
const RECOMPUTE_STEPS = 8;

/** Everything that the settings allow. Throws E_CONFIG for settings that a run on PyTorch does not have. */
export function torchSpace(request: TorchRequest): readonly TorchCandidatePlan[] {
  const { settings, device, rowLength, frozen } = request;
  refuse(request);
  const fixed = {
    version: 1, engine: 'torch', worldSize: device.worldSize, ranksPerNode: device.devicesPerNode, packing: { packed: settings.packing, rowLengths: settings.packing ? [rowLength] : request.bucketLengths }, attention: request.pinned?.attention ?? attentionOf(request),
    compile: request.pinned?.compile ?? false,
    maxGradNorm: settings.max_grad_norm, frozen, seed: settings.seed,
  } as const;
  const optimizers = torchOptimizers(settings);
  const precisions = precisionsOf(request);
  const layouts = layoutsOf(request);
  if (layouts.length === 0) {
    throw new FulltuneError('E_CONFIG', 'optimizer_in_backward needs an update of one micro-batch, and the other settings leave none', { where: 'optimizer_in_backward', remedy: 'Leave it out, or leave out what cuts the update.' });
  }
  const plans = precisions.flatMap((precision) => optimizers.flatMap((choice) => {
    const changed = [...(precision === precisions[0] ? [] : ['precision']), ...(choice === optimizers[0] ? [] : ['optimizer'])];
    return layouts.map((layout) => ({ changed, plan: { ...fixed, ...layout, precision, optimizer: choice } })).filter(({ plan }) => torchPlanContradiction(plan) === undefined);
  }));
  if (plans.length > 0) return plans;
  const conflict = torchPlanContradiction({ ...fixed, ...layouts[0]!, precision: precisions[0]!, optimizer: optimizers[0]! });
  throw new FulltuneError('E_CONFIG', `no plan for a run on PyTorch is left: ${conflict}`, { where: 'the settings', remedy: 'Leave one of the settings that say so out.' });
}

/** What decides memory and time but not the numbers. */
function layoutsOf(request: TorchRequest): readonly Pick<TorchPlan, 'sharding' | 'cpuOffload' | 'batch' | 'loss' | 'recompute' | 'update'>[] {
  const recomputes = recomputesOf(request);
  return shardings(request).flatMap((place) => batchesOf(request).flatMap((batch) => lossesOf(request, batch.microBatchSize).flatMap((loss) => recomputes.flatMap((recompute) =>
    updatesOf(request, batch.accumulationSteps, place.sharding).map((update) => ({ ...place, batch, loss, recompute, update }))))));
}

function refuse(request: TorchRequest): void {
  const { settings, device, pinned } = request;
  const { optimizer_in_backward: inBackward, offload_activation_layers: layers, offload_optimizer_state: state } = settings;
  if (shardings(request).length === 0) {
    const offload = pinned?.cpuOffload === true ? ' with cpu_offload' : '';
    throw new FulltuneError('E_CONFIG', `sharding ${pinned?.sharding}${offload} does not go with ${device.worldSize === 1 ? 'one device' : `${device.worldSize} devices`}`, {
      where: 'sharding', remedy: 'Leave sharding out, or use fsdp: with cpu_offload it goes with any number of devices.',
    });
  }
  if (state !== undefined) {
    throw new FulltuneError('E_CONFIG', 'offload_optimizer_state is for the embedded engine, which keeps state in a file', { where: 'offload_optimizer_state', remedy: 'Use --cpu-offload or --no-cpu-offload: shards live in the memory of the host, or not.' });
  }
  if (inBackward === true && (device.worldSize > 1 || settings.max_grad_norm > 0)) {
    throw new FulltuneError('E_CONFIG', `optimizer_in_backward on PyTorch needs one device and no clipping; there are ${device.worldSize}, and max_grad_norm is ${settings.max_grad_norm}`, {
      where: 'optimizer_in_backward', remedy: device.worldSize > 1 ? 'Leave it out: sharding saves more than that.' : 'Set --max-grad-norm 0, or leave it out.',
    });
  }
  if (layers !== undefined && layers > 0) {
    throw new FulltuneError('E_CONFIG', `offload_activation_layers is ${layers}, which a run on PyTorch does not have`, { where: 'offload_activation_layers', remedy: 'Leave it out, or use gradient_checkpointing.' });
  }
}

/** As set, else f32; then what `allow` permits. */
function precisionsOf({ settings, device }: TorchRequest): readonly TorchPrecision[] {
  const { allow, bf16, fp16, bf16_weights: weights } = settings;
  if (weights === true) return ['bf16-weights'];
  const set: TorchPrecision | undefined = bf16 === true ? 'bf16' : fp16 === true ? 'f16' : undefined;
  const mayBf16 = device.accelerator.hasBf16;
  return [
    set ?? 'f32',
    ...(set === undefined && bf16 === undefined && mayBf16 && allow.includes('bf16') ? (['bf16'] as const) : []),
    ...(weights === undefined && mayBf16 && allow.includes('bf16_weights') ? (['bf16-weights'] as const) : []),
  ];
}

function shardings({ device, pinned }: TorchRequest): readonly Pick<TorchPlan, 'sharding' | 'cpuOffload'>[] {
  const offload = pinned?.cpuOffload;
  const plain = device.worldSize === 1 ? (['none'] as const) : (['ddp', 'zero2', 'fsdp'] as const);
  const all: readonly Pick<TorchPlan, 'sharding' | 'cpuOffload'>[] = [
    ...(offload === true ? [] : plain.map((sharding) => ({ sharding, cpuOffload: false }))),
    ...(offload === false ? [] : [{ sharding: 'fsdp', cpuOffload: true } as const]),
  ];
  return all.filter(({ sharding }) => pinned?.sharding === undefined || sharding === pinned.sharding);
}

/** All that make up the rows of an update: worldSize × micro-batch × accumulation. Ranks that the rows do not fill compute ignored ones. */
function batchesOf({ rowsPerUpdate, device, microBatchSize, accumulationSteps }: TorchRequest): readonly TorchPlan['batch'][] {
  const perRank = Math.ceil(rowsPerUpdate / device.worldSize);
  if (microBatchSize !== undefined) return [{ rowsPerUpdate, microBatchSize, accumulationSteps: Math.ceil(perRank / microBatchSize) }];
  if (accumulationSteps !== undefined) return [{ rowsPerUpdate, microBatchSize: Math.ceil(perRank / accumulationSteps), accumulationSteps }];
  const sizes = Array.from({ length: perRank }, (_, index) => index + 1).filter((size) => perRank % size === 0);
  return sizes.map((size) => ({ rowsPerUpdate, microBatchSize: size, accumulationSteps: perRank / size }));
}

function lossesOf({ settings, rowLength }: TorchRequest, microBatchSize: number): readonly TorchLoss[] {
  const { chunked_loss: chunked } = settings;
  const [whole, slices]: readonly [TorchLoss, TorchLoss] = [{ kind: 'whole' }, { kind: 'chunked', tokens: LOSS_TOKENS }];
  if (chunked !== undefined) return [chunked ? slices : whole];
  return microBatchSize * rowLength <= LOSS_TOKENS ? [whole] : [whole, slices];
}

function recomputesOf({ settings, shape }: TorchRequest): readonly TorchRecompute[] {
  const { gradient_checkpointing: asked } = settings;
  const all: TorchRecompute = { kind: 'layers', layers: shape.layers };
  if (asked !== undefined) return asked ? [all] : [{ kind: 'none' }];
  const steps = new Set(Array.from({ length: RECOMPUTE_STEPS }, (_, index) => Math.ceil((shape.layers * (index + 1)) / RECOMPUTE_STEPS)));
  return [{ kind: 'none' }, { kind: 'selective' }, ...[...steps].map((layers) => ({ kind: 'layers', layers }) as const)];
}

function updatesOf({ settings, device }: TorchRequest, accumulationSteps: number, sharding: TorchPlan['sharding']): readonly TorchPlan['update'][] {
  const possible = device.worldSize === 1 && sharding === 'none' && accumulationSteps === 1 && settings.max_grad_norm === 0;
  if (settings.optimizer_in_backward === true) return possible ? ['in-backward'] : [];
  return settings.optimizer_in_backward === undefined && possible ? ['after-backward', 'in-backward'] : ['after-backward'];
}

/** FlexAttention knows documents that share a row without a mask of every pair; it wants CUDA and a head width that is a power of two. */
function attentionOf({ settings, shape, device }: TorchRequest): TorchPlan['attention'] {
  if (shape.features.softCap) return 'eager';
  const isPower = Number.isInteger(Math.log2(shape.headWidth)) && shape.headWidth >= 16 && shape.headWidth <= 256;
  return settings.packing && device.accelerator.family === 'cuda' && isPower ? 'flex' : 'sdpa';
}

/** A plan for PyTorch where no planner has made one: what the settings say, and else the plainest value. */

import { FulltuneError } from '../base/errors.ts';
import { MIB } from '../base/bytes.ts';
import type { ModelConfig } from '../models/model-config.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import type { TorchBatch, TorchLoss, TorchPlan, TorchPrecision, TorchSharding } from '../run/torch-plan.ts';
import { rowsPerUpdate } from '../techniques/accumulation.ts';
import { torchOptimizers } from './torch-optimizer.ts';

export interface TorchPlanRequest {
  readonly settings: Settings;
  readonly model: Pick<ModelConfig, 'layers' | 'vocabularySize'>;
  readonly maxLength: number;
  readonly bucketLengths: readonly number[];
  readonly frozen: readonly string[];
  readonly worldSize: number;
  readonly ranksPerNode: number;
  /** Of a run that goes on: it does not change. */
  readonly rowsPerUpdate?: number;
}

/** Tokens whose logits exist at a time. */
const CHUNK_TOKENS = 1024;
/** Logits, their gradient and a copy in f32: from here on they are cut into slices unless the settings say otherwise. */
const LARGE_LOGITS_BYTES = 512 * MIB;

/** Throws E_CONFIG for settings that no run on so many ranks can follow. */
export function defaultTorchPlan({ settings, model, maxLength, bucketLengths, frozen, worldSize, ranksPerNode, rowsPerUpdate: rows }: TorchPlanRequest): TorchPlan {
  const batch = batchOf(settings, maxLength, worldSize, rows);
  return {
    version: 1, engine: 'torch', worldSize, ranksPerNode,
    packing: { packed: settings.packing, rowLengths: settings.packing ? [maxLength] : bucketLengths },
    batch,
    precision: precisionOf(settings),
    loss: lossOf(settings, batch.microBatchSize * maxLength * model.vocabularySize),
    optimizer: torchOptimizers(settings)[0]!,
    recompute: settings.gradient_checkpointing === true ? { kind: 'layers', layers: model.layers } : { kind: 'none' },
    update: settings.optimizer_in_backward === true ? 'in-backward' : 'after-backward',
    sharding: shardingOf(settings, worldSize),
    cpuOffload: settings.cpu_offload ?? false,
    attention: settings.attn_implementation === 'flex_attention' ? 'flex' : (settings.attn_implementation ?? 'sdpa'),
    compile: settings.torch_compile ?? false,
    maxGradNorm: settings.max_grad_norm,
    frozen,
    seed: settings.seed,
  };
}

/**
 * Effective batch = micro-batch × accumulation × ranks. Where the settings give both of the first two, they decide the rows; else the rows are
 * shared among the ranks.
 */
function batchOf(settings: Settings, maxLength: number, worldSize: number, given: number | undefined): TorchBatch {
  const { per_device_train_batch_size: micro, gradient_accumulation_steps: steps } = settings;
  const rows = given ?? (micro !== undefined && steps !== undefined ? micro * steps * worldSize : rowsPerUpdate(settings, maxLength));
  const perRank = Math.ceil(rows / worldSize);
  const microBatchSize = micro === undefined ? Math.ceil(perRank / (steps ?? 1)) : Math.min(micro, perRank);
  return { rowsPerUpdate: rows, microBatchSize, accumulationSteps: Math.ceil(rows / (worldSize * microBatchSize)) };
}

function precisionOf({ bf16, fp16, bf16_weights: weights }: Settings): TorchPrecision {
  if (weights === true && fp16 === true) {
    throw new FulltuneError('E_CONFIG', 'bf16_weights and fp16 are both set: on PyTorch weights and activations then have different 16-bit types', { where: 'bf16_weights, fp16', remedy: 'Keep bf16_weights.' });
  }
  if (weights === true) return 'bf16-weights';
  if (fp16 === true) return 'f16';
  return bf16 === true ? 'bf16' : 'f32';
}

function lossOf({ chunked_loss: chunked }: Settings, logits: number): TorchLoss {
  return (chunked ?? 3 * 4 * logits > LARGE_LOGITS_BYTES) ? { kind: 'chunked', tokens: CHUNK_TOKENS } : { kind: 'whole' };
}

function shardingOf({ sharding }: Settings, worldSize: number): TorchSharding {
  if (worldSize > 1 && sharding === 'none') {
    throw new FulltuneError('E_CONFIG', `sharding is none, but there are ${worldSize} ranks`, { where: 'sharding', remedy: 'Use ddp, zero2 or fsdp, or one rank.' });
  }
  if (sharding === 'ddp' && worldSize === 1) return 'none';
  return sharding ?? (worldSize === 1 ? 'none' : 'fsdp');
}

/** Keys that a run may change when it goes on, and the parts of the plan that follow from them. */
const REVISED: Readonly<Partial<Record<keyof RunConfig, readonly (keyof TorchPlan)[]>>> = {
  nproc_per_node: ['worldSize', 'ranksPerNode', 'batch', 'sharding'], nnodes: ['worldSize', 'ranksPerNode', 'batch', 'sharding'],
  per_device_train_batch_size: ['batch'], gradient_accumulation_steps: ['batch'], gradient_checkpointing: ['recompute'], chunked_loss: ['loss'],
  optimizer_in_backward: ['update'], sharding: ['sharding'], cpu_offload: ['cpuOffload'], attn_implementation: ['attention'], torch_compile: ['compile'],
  max_grad_norm: ['maxGradNorm'],
  weight_decay: ['optimizer'], adam_beta1: ['optimizer'], adam_beta2: ['optimizer'], adam_epsilon: ['optimizer'], sgd_momentum: ['optimizer'],
};

/** The stored plan with what the changed keys make different; the planner's expectation holds only where nothing is. */
export function revisedTorchPlan(stored: TorchPlan, changes: Partial<RunConfig>, request: Omit<TorchPlanRequest, 'rowsPerUpdate'>): TorchPlan {
  const parts = new Set((Object.keys(changes) as (keyof RunConfig)[]).filter((key) => changes[key] !== undefined).flatMap((key) => REVISED[key] ?? []));
  if (request.worldSize !== stored.worldSize) for (const part of REVISED.nproc_per_node!) parts.add(part);
  if (parts.size === 0) return stored;
  const fresh = defaultTorchPlan({ ...request, rowsPerUpdate: stored.batch.rowsPerUpdate });
  const { expected: _, ...kept } = stored;
  const offload = request.worldSize !== stored.worldSize && fresh.sharding !== 'fsdp' ? { cpuOffload: false } : {};
  return { ...kept, ...Object.fromEntries([...parts].map((part) => [part, fresh[part]])), ...offload };
}

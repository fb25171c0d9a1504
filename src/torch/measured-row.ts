/** A row that worker/measure.py wrote, as a case to estimate: columns of a table of public measurements, and the few that such tables leave out. */

import { GIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { OptimizerChoice } from '../run/training-plan.ts';
import type { MemoryEstimate } from './estimate-memory.ts';
import { ARCHITECTURE_FEATURES, type Architecture, type ModelShape } from './model-shape.ts';
import type { TorchCase } from './torch-case.ts';

/** Column → text; numbers may be numbers. */
export type MeasuredRow = Readonly<Record<string, string | number | boolean>>;

export interface RowCase {
  readonly id: string;
  readonly given: TorchCase;
  /** What was measured, in bytes; absent ways to count are left out. */
  readonly measured: Readonly<Partial<Record<keyof Pick<MemoryEstimate, 'allocatedBytes' | 'reservedBytes' | 'deviceBytes'>, number>>>;
}

/** Undefined for a row without a measurement, such as one that ran out of memory. Throws E_DATA for a value that it does not know. */
export function caseOfRow(row: MeasuredRow): RowCase | undefined {
  const id = String(row['id']);
  const bytes = (column: string): number | undefined => (row[column] === '' || row[column] === undefined ? undefined : Number(row[column]) * GIB);
  const [allocatedBytes, reservedBytes, deviceBytes, contextBytes] = ['peak_mem_GiB_per_gpu', 'reserved_GiB', 'device_GiB', 'context_GiB'].map(bytes);
  if (allocatedBytes === undefined) return undefined;
  const number = (column: string): number => {
    const value = Number(row[column]);
    if (!Number.isFinite(value)) throw unknown(id, column, row[column]);
    return value;
  };
  const given: TorchCase = {
    shape: shapeOfRow(id, row, number), rowLength: number('seq_len'), microBatchSize: number('micro_batch'), accumulationSteps: number('grad_accum'), worldSize: number('n_gpu'), ranksPerNode: number('n_gpu'),
    precision: pick(id, 'dtype', row, { fp32: 'f32', amp_bf16: 'bf16', amp_fp16: 'f16', pure_bf16: 'bf16-weights' } as const),
    attention: pick(id, 'attention', row, { sdpa: 'fused', masked: 'masked', eager: 'eager' } as const), recompute: recomputeOf(id, row, number('layers')), loss: lossOf(id, row),
    ...optimizerOf(id, row), update: 'after-backward', sharding: pick(id, 'sharding', row, { none: 'none', ddp: 'ddp', zero2: 'zero2', fsdp: 'fsdp' } as const), cpuOffload: false, compiled: false,
    frozenParameters: 0, gradientsStay: false, ...(contextBytes === undefined ? {} : { contextBytes }),
  };
  const measured = { allocatedBytes, ...(reservedBytes === undefined ? {} : { reservedBytes }), ...(deviceBytes === undefined ? {} : { deviceBytes }) };
  return { id, given, measured };
}

function shapeOfRow(id: string, row: MeasuredRow, number: (column: string) => number): ModelShape {
  const architecture = String(row['architecture']);
  if (!Object.hasOwn(ARCHITECTURE_FEATURES, architecture)) throw unknown(id, 'architecture', architecture);
  const length = number('seq_len');
  return {
    name: String(row['model']), width: number('hidden'), layers: number('layers'), heads: number('heads'), keyValueHeads: number('kv_heads'), headWidth: number('head_dim'), feedForwardWidth: number('ffn'),
    vocabularySize: number('vocab'), maxPositions: length, learnedPositions: architecture === 'GPT2LMHeadModel' ? Math.max(1024, length) : 0, tiedHead: String(row['tied']).toLowerCase() === 'true',
    experts: 1, activeExperts: 1, features: ARCHITECTURE_FEATURES[architecture as Architecture], otherParameters: 0,
  };
}

/** none, full, selective, layers:N. */
function recomputeOf(id: string, row: MeasuredRow, layers: number): TorchCase['recompute'] {
  const text = String(row['checkpointing']);
  if (text === 'none') return { kind: 'none' };
  if (text === 'full') return { kind: 'layers', layers };
  if (text === 'selective') return { kind: 'selective' };
  const count = /^layers:(\d+)$/.exec(text)?.[1];
  if (count === undefined) throw unknown(id, 'checkpointing', text);
  return { kind: 'layers', layers: Number(count) };
}

/** whole, chunked:N. */
function lossOf(id: string, row: MeasuredRow): TorchCase['loss'] {
  const text = String(row['loss']);
  if (text === 'whole') return { kind: 'whole' };
  const tokens = /^chunked:(\d+)$/.exec(text)?.[1];
  if (tokens === undefined) throw unknown(id, 'loss', text);
  return { kind: 'chunked', tokens: Number(tokens) };
}

function optimizerOf(id: string, row: MeasuredRow): Pick<TorchCase, 'optimizer' | 'optimizerStep'> {
  const adamw: OptimizerChoice = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };
  switch (row['optimizer']) {
    case 'AdamW(fused)':
      return { optimizer: adamw, optimizerStep: 'fused' };
    case 'AdamW(foreach)':
      return { optimizer: adamw, optimizerStep: 'foreach' };
    case 'AdamW(loop)':
      return { optimizer: adamw, optimizerStep: 'loop' };
    case 'SGD':
      return { optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0 }, optimizerStep: 'loop' };
    case 'Adafactor':
      return { optimizer: { kind: 'adafactor', beta1: 0, weightDecay: 0 }, optimizerStep: 'loop' };
    default:
      throw unknown(id, 'optimizer', row['optimizer']);
  }
}

function pick<K extends string, V>(id: string, column: string, row: MeasuredRow, values: Readonly<Record<K, V>>): V {
  const text = String(row[column]);
  if (!Object.hasOwn(values, text)) throw unknown(id, column, text);
  return values[text as K];
}

function unknown(id: string, column: string, value: unknown): FulltuneError {
  return new FulltuneError('E_DATA', `row ${id} has ${column} ${JSON.stringify(value)}, which is not known`, { where: column, remedy: 'Rows are what worker/measure.py writes.' });
}

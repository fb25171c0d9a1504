/**
 * Public measurements of peak memory, with what is known of each run. A row is complete when every setting that decides its memory and the metric are
 * stated by its source; what is missing elsewhere is said in `missing`, and such a row is printed but not judged.
 */

import { MIB } from '../../base/bytes.ts';
import type { MemoryEstimate } from '../estimate-memory.ts';
import type { ModelShape } from '../model-shape.ts';
import { findPublicModel } from '../public-models.ts';
import type { TorchCase } from '../torch-case.ts';

export interface MeasuredMemory {
  readonly id: string;
  readonly source: string;
  readonly what: string;
  readonly metric: keyof Pick<MemoryEstimate, 'allocatedBytes' | 'reservedBytes' | 'deviceBytes'>;
  readonly measuredGiB: number;
  /** What the source does not say, or this estimate does not know; null: the row is complete. */
  readonly missing: string | null;
  readonly given: TorchCase;
}

const ADAMW = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
const ADAMW_8BIT = { ...ADAMW, kind: 'adamw_8bit', embeddings: true } as const;
const ADAFACTOR = { kind: 'adafactor', beta1: 0, weightDecay: 0 } as const;

const SINGLE = {
  accumulationSteps: 1, worldSize: 1, ranksPerNode: 1, attention: 'fused', recompute: { kind: 'none' }, loss: { kind: 'whole' }, optimizer: ADAMW, optimizerStep: 'foreach', update: 'after-backward',
  sharding: 'none', cpuOffload: false, compiled: false, frozenParameters: 0, gradientsStay: false,
} as const satisfies Partial<TorchCase>;

function model(name: string): ModelShape {
  const found = findPublicModel(name);
  if (found === undefined) throw new Error(`no public model '${name}'`);
  return found.shape;
}

/** bert-large-uncased with a classifier of two classes: dropout 0.1, no vocabulary head, so that `vocabularySize` columns of logits do not exist. */
const BERT_LARGE: ModelShape = {
  name: 'bert-large-uncased', width: 1024, layers: 24, heads: 16, keyValueHeads: 16, headWidth: 64, feedForwardWidth: 4096, vocabularySize: 2, maxPositions: 512, learnedPositions: 512,
  tiedHead: true, experts: 1, activeExperts: 1,
  features: { norm: 'layer', normPlace: 'after', qkNorm: 'none', qkv: 'separate', qkvBias: true, outputBias: true, mlpBias: true, mlp: 'gelu', softCap: false, dropout: true },
  // The word and type embeddings, one norm (the other stands for the final one), pooler and classifier.
  otherParameters: 30522 * 1024 - 2 * 1024 + 2 * 1024 + 1024 * 1024 + 1024 + 2 * 1024 + 2,
};

const HF = 'Hugging Face transformers docs/source/en/performance.mdx @0f9f5cee (2022), nvidia-smi at the end of the run, context 1343 MiB';
const BERT = {
  ...SINGLE, shape: BERT_LARGE, rowLength: 512, microBatchSize: 4, precision: 'f32', attention: 'eager', optimizerStep: 'loop', gradientsStay: true, contextBytes: 1343 * MIB,
} as const satisfies TorchCase;

const TUNE = 'pytorch/torchtune README.md @bd2a0fc, "peak memory active"';
const TUNE_3B = { ...SINGLE, shape: model('Llama-3.2-3B'), rowLength: 4096, microBatchSize: 2, precision: 'bf16-weights', optimizerStep: 'fused' } as const satisfies TorchCase;
const TUNE_CHUNKED = { ...TUNE_3B, compiled: true, loss: { kind: 'upcast' } } as const satisfies TorchCase;
const TUNE_FULL = { ...TUNE_CHUNKED, recompute: { kind: 'layers', layers: 28 } } as const satisfies TorchCase;
const TUNE_IN_BACKWARD = { ...TUNE_FULL, update: 'in-backward' } as const satisfies TorchCase;
const TUNE_OFFLOADED = { ...TUNE_IN_BACKWARD, recompute: { kind: 'layers', layers: 28, offloaded: true } } as const satisfies TorchCase;

const TITAN = 'pytorch/torchtitan benchmarks/llama3_h100_202412_torchtitan.md @b5bcd76, highest reserved';
const TITAN_8B = {
  ...SINGLE, shape: model('Llama-3.1-8B'), rowLength: 8192, microBatchSize: 2, worldSize: 8, ranksPerNode: 8, precision: 'bf16', sharding: 'fsdp', recompute: { kind: 'every-second-product' }, optimizerStep: 'fused',
} as const satisfies TorchCase;

export const MEASURED_MEMORY: readonly MeasuredMemory[] = [
  { id: 'm001', source: HF, what: 'BERT-large f32, batch 4', metric: 'deviceBytes', measuredGiB: 14.6, missing: null, given: BERT },
  { id: 'm002', source: HF, what: 'BERT-large f32, batch 1 × 4', metric: 'deviceBytes', measuredGiB: 8.48, missing: null, given: { ...BERT, microBatchSize: 1, accumulationSteps: 4 } },
  { id: 'm003', source: HF, what: '… with recompute of all layers', metric: 'deviceBytes', measuredGiB: 6.62, missing: null, given: { ...BERT, microBatchSize: 1, accumulationSteps: 4, recompute: { kind: 'layers', layers: 24 } } },
  { id: 'm004', source: HF, what: 'BERT-large f16 autocast, batch 4', metric: 'deviceBytes', measuredGiB: 13.61, missing: null, given: { ...BERT, precision: 'f16' } },
  { id: 'm006', source: HF, what: 'BERT-large f32, Adafactor', metric: 'deviceBytes', measuredGiB: 12.01, missing: null, given: { ...BERT, optimizer: ADAFACTOR } },
  { id: 'm008', source: HF, what: 'BERT-large f32, 8-bit Adam', metric: 'deviceBytes', measuredGiB: 12.78, missing: null, given: { ...BERT, optimizer: ADAMW_8BIT } },
  { id: 'm010', source: TUNE, what: 'Llama-3.2-3B bf16, not packed', metric: 'allocatedBytes', measuredGiB: 25.5, missing: 'how long the documents are: rows are not filled up', given: TUNE_3B },
  { id: 'm011', source: TUNE, what: 'Llama-3.2-3B bf16, packed 2 × 4096', metric: 'allocatedBytes', measuredGiB: 60, missing: null, given: TUNE_3B },
  { id: 'm012', source: TUNE, what: '… compiled', metric: 'allocatedBytes', measuredGiB: 51, missing: null, given: { ...TUNE_3B, compiled: true } },
  { id: 'm013', source: TUNE, what: '… and chunked loss', metric: 'allocatedBytes', measuredGiB: 42.9, missing: null, given: TUNE_CHUNKED },
  { id: 'm014', source: TUNE, what: '… and recompute of all layers', metric: 'allocatedBytes', measuredGiB: 24.9, missing: null, given: TUNE_FULL },
  { id: 'm015', source: TUNE, what: '… and optimizer in backward', metric: 'allocatedBytes', measuredGiB: 23.1, missing: null, given: TUNE_IN_BACKWARD },
  { id: 'm016', source: TUNE, what: '… and offloaded layer inputs', metric: 'allocatedBytes', measuredGiB: 21.8, missing: null, given: TUNE_OFFLOADED },
  { id: 'm017', source: TUNE, what: '… and 8-bit AdamW', metric: 'allocatedBytes', measuredGiB: 17.6, missing: null, given: { ...TUNE_OFFLOADED, optimizer: ADAMW_8BIT } },
  {
    id: 'm019', source: 'pytorch/torchtune README.md @bd2a0fc', what: 'Llama-3.1-8B bf16, RTX A6000', metric: 'allocatedBytes', measuredGiB: 37.4, missing: 'the optimizer, and whether layers are recomputed',
    given: { ...TUNE_IN_BACKWARD, shape: model('Llama-3.1-8B'), rowLength: 2048, recompute: { kind: 'layers', layers: 32 }, optimizer: ADAMW_8BIT },
  },
  {
    id: 'm024', source: 'pytorch/torchtune README.md @a9180b5, highest reserved', what: 'Llama-2-7B bf16, RTX 4090', metric: 'reservedBytes', measuredGiB: 13.94, missing: 'how long the documents are; paged optimizer state, of which an unknown part is on the device',
    given: { ...TUNE_IN_BACKWARD, shape: model('Llama-2-7b-hf'), rowLength: 512, compiled: false, loss: { kind: 'whole' }, recompute: { kind: 'layers', layers: 32 }, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 } },
  },
  { id: 'm028', source: TITAN, what: 'Llama-3.1-8B on 8 × H100, FSDP2, selective', metric: 'reservedBytes', measuredGiB: 82.4, missing: null, given: TITAN_8B },
  { id: 'm029', source: TITAN, what: '… compiled', metric: 'reservedBytes', measuredGiB: 77, missing: null, given: { ...TITAN_8B, compiled: true } },
  {
    id: 'm034', source: TITAN, what: 'Llama-3.1-8B, 32768 tokens, Float8', metric: 'reservedBytes', measuredGiB: 83.9, missing: 'Float8 products, which save their operands in one byte, are not estimated',
    given: { ...TITAN_8B, rowLength: 32768, microBatchSize: 1, recompute: { kind: 'layers', layers: 32 }, compiled: true },
  },
  {
    id: 'm038', source: TITAN, what: 'Llama-3.1-70B, FSDP2 32 × tensor parallel 8, Float8', metric: 'reservedBytes', measuredGiB: 71.9, missing: 'tensor parallelism and Float8 are not estimated',
    given: { ...TITAN_8B, shape: model('Llama-3.1-70B'), microBatchSize: 2, worldSize: 256, recompute: { kind: 'layers', layers: 80 }, compiled: true },
  },
  {
    id: 'm058', source: 'llm.c run log 1018517559, cudaMemGetInfo', what: 'GPT-2 124M in llm.c, 56 × 1024', metric: 'deviceBytes', measuredGiB: 20.82, missing: 'llm.c is not PyTorch: its own buffers, and f32 masters beside bf16 weights',
    given: { ...SINGLE, shape: model('gpt2'), rowLength: 1024, microBatchSize: 56, accumulationSteps: 8, precision: 'bf16', optimizerStep: 'fused' },
  },
  {
    id: 'm063', source: 'jiaweizzhao/GaLore README', what: 'LLaMA-7B, GaLore', metric: 'deviceBytes', measuredGiB: 22.8, missing: "GaLore's projected state is not estimated; G may be 10^9 or 2^30 bytes",
    given: { ...TUNE_IN_BACKWARD, shape: model('Llama-2-7b-hf'), rowLength: 256, microBatchSize: 16, compiled: false, loss: { kind: 'whole' }, recompute: { kind: 'layers', layers: 32 }, optimizer: ADAMW_8BIT },
  },
  {
    id: 'm078', source: 'usamec/lowmem_finetuning README, total - free', what: 'Llama-3.2-1B autocast, Adafactor of the layers', metric: 'deviceBytes', measuredGiB: 14.4, missing: 'the GPU and its context; which micro-batch; whether embeddings have gradients',
    given: { ...SINGLE, shape: model('Llama-3.2-1B'), rowLength: 160, microBatchSize: 8, precision: 'bf16', recompute: { kind: 'layers', layers: 16 }, loss: { kind: 'chunked', tokens: 256 }, optimizer: ADAFACTOR, optimizerStep: 'loop' },
  },
];

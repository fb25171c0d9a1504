/**
 * Time of one update of a PyTorch run: an estimate from peak rates at stated efficiencies, not a measurement. Products are bound by FLOPs, everything
 * else by memory (a roofline, Williams et al. 2009); communication overlaps with both, and the update follows them.
 */

import { countShape } from './model-shape.ts';
import { nodeLinkGBps, type DeviceSpec } from './device-spec.ts';
import { blockBytes, blockPrecision } from './estimate-activations.ts';
import { flopsPerToken, mfu, type TorchCase } from './torch-case.ts';

export interface TimeEstimate {
  readonly updateMs: number;
  readonly tokensPerSecond: number;
  /** 0 to 1, without recomputed work. */
  readonly mfu: number;
  /** Of one update. */
  readonly parts: { readonly computeMs: number; readonly communicationMs: number; readonly optimizerMs: number; readonly exposedMs: number };
}

/**
 * Shares of the dense peak that kernels reach: products, and fused attention by the count that ignores causal masks. Devices of more than 600 TFLOPS
 * are held back by power: their best product reaches 80 % of the peak of an H100, in a step 65 % (stas00/ml-engineering has 87 % on A100). Chosen
 * once, against the 110 public rows of the test of this file.
 */
const REACHED = { usual: { products: 0.8, attention: 0.54 }, fast: { products: 0.65, attention: 0.32 } } as const;
const FAST_TFLOPS = 600;
/** Ops that are not products are bound by memory. For each byte that they save for backward, so many are read and written in forward and backward together. */
const MOVED_PER_SAVED_BYTE = 10;
/** Each of the three f32 tensors of the loss is written and read. */
const LOSS_BYTES_PER_ENTRY = 24;
/** What copies and collectives reach of a memory's or a link's rate. */
const BANDWIDTH_EFFICIENCY = 0.8;
const LINK_EFFICIENCY = 0.7;
/** Host: memory bandwidth of a node's processors for an update there, and one device's share of PCIe for gradients and weights. */
const HOST_MEMORY_GBPS = 150;
const PCIE_GBPS = 25;
/** Starting kernels: in eager mode some 100 launches of about 5 µs per layer in forward and backward, a dozen per slice of the loss; hidden once kernels take longer. */
const LAUNCH_MS_PER_LAYER = 0.5;
const LAUNCH_MS_PER_SLICE = 0.06;

/** The worst of the public rows is 21 % off, nine in ten are within 14 %; they are of A100 and H100. */
const TIME_ERROR = 0.25;
/** On devices of which there is no row. */
const TIME_ERROR_UNMEASURED = 0.4;

export function timeError({ name }: DeviceSpec['accelerator']): number {
  return /\b(A100|H100)\b/.test(name) ? TIME_ERROR : TIME_ERROR_UNMEASURED;
}

export function estimateTime(given: TorchCase, { accelerator, devicesPerNode }: DeviceSpec): TimeEstimate {
  const { shape, rowLength, microBatchSize, accumulationSteps, worldSize } = given;
  const counts = countShape(shape);
  const tokens = microBatchSize * rowLength;
  const microMs = Math.max(computeMs(given, accelerator), launchMs(given));

  // A collective over nodes uses all network links of a node at once, each for its share.
  const linkBytesPerMs = LINK_EFFICIENCY * 1e6 * (worldSize > devicesPerNode ? Math.min(accelerator.linkGBps, devicesPerNode * nodeLinkGBps(accelerator)) : accelerator.linkGBps);
  const { perMicroStep, perUpdate } = communicatedBytes(given, counts.total);
  const others = (worldSize - 1) / worldSize;
  const microLinkMs = (perMicroStep * others) / linkBytesPerMs;
  const hostMs = given.cpuOffload ? offloadBytes(given, counts.total) / (PCIE_GBPS * 1e6) : 0;
  // Overlapped but for the first layer's gather and the last one's reduction.
  const exposedMicroMs = Math.max(0, microLinkMs + hostMs - microMs) + (microLinkMs + hostMs) / shape.layers;
  const lastMs = (perUpdate * others) / linkBytesPerMs;
  const exposedMs = accumulationSteps * exposedMicroMs + Math.max(0, lastMs - (microMs * 2) / 3) + lastMs / shape.layers;

  const optimizerMs = updateTime(given, accelerator.bandwidthGBps);
  const updateMs = accumulationSteps * microMs + exposedMs + optimizerMs;
  const tokensPerSecond = (tokens * accumulationSteps * worldSize) / (updateMs / 1000);
  return {
    updateMs, tokensPerSecond, mfu: mfu({ flops: flopsPerToken(shape, rowLength), tokensPerSecond: tokensPerSecond / worldSize, peakTflops: peakTflops(given, accelerator) }),
    parts: { computeMs: accumulationSteps * microMs, communicationMs: accumulationSteps * microLinkMs + lastMs, optimizerMs, exposedMs },
  };
}

/** Forward and backward of one micro-step: products and attention at their shares of the peak, the rest at the memory's rate. */
function computeMs(given: TorchCase, accelerator: DeviceSpec['accelerator']): number {
  const { shape, rowLength, microBatchSize, worldSize, sharding } = given;
  const peak = peakTflops(given, accelerator);
  const { products, attention } = peak > FAST_TFLOPS ? REACHED.fast : REACHED.usual;
  const attentionFlops = 12 * shape.layers * shape.heads * shape.headWidth * rowLength;
  const productFlops = flopsPerToken(shape, rowLength) - attentionFlops;
  const { again, headAgain } = workAgain(given);
  const precision = blockPrecision(given.precision, (sharding === 'fsdp' || sharding === 'zero2') && worldSize > 1);
  const { saved } = blockBytes(shape, { precision, attention: given.attention, rowLength, compiled: given.compiled });
  const headFlops = 2 * shape.vocabularySize * shape.width * headAgain;
  const flopsMs = ((productFlops * again.products + headFlops) / products + (attentionFlops * again.attention) / attention) / (peak * 1e9);
  const moved = MOVED_PER_SAVED_BYTE * saved * shape.layers * again.others + LOSS_BYTES_PER_ENTRY * shape.vocabularySize;
  return microBatchSize * rowLength * (flopsMs + moved / (accelerator.bandwidthGBps * 1e6 * BANDWIDTH_EFFICIENCY));
}

/** How long the processor takes to start the kernels of a micro-step. */
function launchMs(given: TorchCase): number {
  const { shape, loss, microBatchSize, rowLength } = given;
  const slices = loss.kind === 'chunked' ? Math.ceil((microBatchSize * rowLength) / loss.tokens) : 0;
  return LAUNCH_MS_PER_LAYER * shape.layers * workAgain(given).again.others + LAUNCH_MS_PER_SLICE * slices;
}

/** The dense peak of the precision's products. Where no rate of f32 is published, an eighth of the two-byte rate is taken: a little more than on A100. */
function peakTflops({ precision }: TorchCase, { halfTflops, singleTflops, hasBf16 }: DeviceSpec['accelerator']): number {
  const half = halfTflops ?? singleTflops ?? 1;
  const isSlow = precision === 'f32' || (precision !== 'f16' && !hasBf16);
  return isSlow ? (singleTflops ?? half / 8) : half;
}

/** Work of a step over what the model needs. A layer computed again is one more forward, a third of forward and backward; chunked loss projects again. */
function workAgain({ shape, recompute, loss, attention }: TorchCase): { readonly again: { readonly products: number; readonly attention: number; readonly others: number }; readonly headAgain: number } {
  const headAgain = loss.kind === 'chunked' ? 1 : 0;
  switch (recompute.kind) {
    case 'none':
      return { again: { products: 1, attention: 1, others: 1 }, headAgain };
    case 'selective':
      return { again: { products: 1, attention: attention === 'flex' ? 4 / 3 : 1, others: 4 / 3 }, headAgain };
    case 'every-second-product':
      return { again: { products: 7 / 6, attention: 1, others: 4 / 3 }, headAgain };
    case 'layers': {
      const factor = 1 + recompute.layers / shape.layers / 3;
      return { again: { products: factor, attention: factor, others: factor }, headAgain };
    }
    default:
      return recompute satisfies never;
  }
}

/**
 * Bytes that one rank sends, before the factor (W − 1) / W: FSDP gathers weights in forward and again in backward and reduces gradients in f32;
 * ZeRO-2 gathers once; DDP reduces and gathers all gradients once per update (Rajbhandari et al. 2020, section 7).
 */
function communicatedBytes({ sharding, precision, worldSize }: TorchCase, parameters: number): { readonly perMicroStep: number; readonly perUpdate: number } {
  if (worldSize === 1) return { perMicroStep: 0, perUpdate: 0 };
  const gathered = (precision === 'f32' ? 4 : 2) * parameters;
  const gradients = (precision === 'bf16-weights' ? 2 : 4) * parameters;
  switch (sharding) {
    case 'none':
      return { perMicroStep: 0, perUpdate: 0 };
    case 'ddp':
      return { perMicroStep: 0, perUpdate: 2 * gradients };
    case 'zero2':
      return { perMicroStep: gathered + 4 * parameters, perUpdate: 0 };
    case 'fsdp':
      return { perMicroStep: 2 * gathered + 4 * parameters, perUpdate: 0 };
    default:
      return sharding satisfies never;
  }
}

/** Per micro-step over PCIe, with sharded weights in the host's memory: they come twice, gradients go once. */
function offloadBytes({ precision, worldSize }: TorchCase, parameters: number): number {
  return (3 * (precision === 'bf16-weights' ? 2 : 4) * parameters) / worldSize;
}

/** The update is bound by memory: weights and state are read and written, gradients read. On the host, all ranks of a node share its memory. */
function updateTime(given: TorchCase, bandwidthGBps: number): number {
  const { optimizer, precision, sharding, worldSize, cpuOffload, ranksPerNode } = given;
  const element = precision === 'bf16-weights' ? 2 : 4;
  const state = { adamw: 2 * element, adamw_8bit: 2, adamw_4bit: 1, adafactor: 0.1, lion: element, sgd: element }[optimizer.kind];
  const passes = given.optimizerStep === 'fused' ? 1 : 2;
  const shards = sharding === 'fsdp' || sharding === 'zero2' ? worldSize : 1;
  const bytes = (countShape(given.shape).total - given.frozenParameters) * (2 * element + element + 2 * state) * passes / shards;
  return cpuOffload ? (bytes * ranksPerNode) / (HOST_MEMORY_GBPS * 1e6) : bytes / (bandwidthGBps * 1e6 * BANDWIDTH_EFFICIENCY);
}

/**
 * Time of one update of a PyTorch run: an estimate from peak rates at stated efficiencies, not a measurement. Compute and communication overlap;
 * the update follows them. What efficiency is reached depends on kernels that no planner sees: the error bar says how far public measurements spread.
 */

import { countShape } from './model-shape.ts';
import { NODE_LINK_GBPS, type DeviceSpec } from './device-spec.ts';
import { flopsPerToken, type TorchCase } from './torch-case.ts';

export interface TimeEstimate {
  readonly updateMs: number;
  readonly tokensPerSecond: number;
  /** 0 to 1, without recomputed work. */
  readonly mfu: number;
  /** Of one update. */
  readonly parts: { readonly computeMs: number; readonly communicationMs: number; readonly optimizerMs: number; readonly exposedMs: number };
}

/**
 * Share of the dense peak that forward and backward of a transformer reach with two-byte operands, recomputed work counted: medians of the 133 public
 * throughput rows that name their utilisation are 0.58 on A100 and 0.44 on H100; their ratio follows memory bandwidth per FLOP, so others take the
 * nearer one. f32 products outside tensor cores come nearer to their peak.
 */
const HALF_EFFICIENCY = 0.55;
const HALF_EFFICIENCY_FAST = 0.45;
const SINGLE_EFFICIENCY = 0.7;
/** Devices with fewer bytes of bandwidth than this per 1000 FLOPs of two-byte products are as H100: 3.4, against 6.5 of an A100. */
const FAST_BYTES_PER_KILOFLOP = 4.5;
/** What copies and collectives reach of a memory's or a link's rate. */
const BANDWIDTH_EFFICIENCY = 0.8;
const LINK_EFFICIENCY = 0.7;
/** Host: memory bandwidth of a node's processors for an update there, and one device's share of PCIe for gradients and weights. */
const HOST_MEMORY_GBPS = 150;
const PCIE_GBPS = 25;
/** Starting kernels: per layer and micro-step, forward and backward in eager mode some 100 launches of about 5 µs, hidden once kernels are longer. */
const LAUNCH_MS_PER_LAYER = 0.5;

/** Median and spread of public rows: nine in ten of them lie within this of the estimate. */
export const TIME_ERROR = 0.35;

export function estimateTime(given: TorchCase, { accelerator, devicesPerNode }: DeviceSpec): TimeEstimate {
  const { shape, rowLength, microBatchSize, accumulationSteps, worldSize } = given;
  const counts = countShape(shape);
  const tokens = microBatchSize * rowLength;
  const { flopsPerMs, isHalf } = rateOf(given, accelerator);
  const flops = flopsPerToken(shape, rowLength) * tokens;
  const microMs = Math.max((flops * workFactor(given)) / flopsPerMs, LAUNCH_MS_PER_LAYER * shape.layers);

  const linkBytesPerMs = LINK_EFFICIENCY * 1e6 * (worldSize > devicesPerNode ? Math.min(accelerator.linkGBps, NODE_LINK_GBPS) : accelerator.linkGBps);
  const { perMicroStep, perUpdate } = communicatedBytes(given, counts.total);
  const others = (worldSize - 1) / worldSize;
  const microLinkMs = (perMicroStep * others) / linkBytesPerMs;
  const hostMs = given.cpuOffload ? offloadBytes(given, counts.total) / (PCIE_GBPS * 1e6) : 0;
  // Overlapped but for the first layer's gather and the last one's reduction.
  const exposedMicroMs = Math.max(0, microLinkMs + hostMs - microMs) + (microLinkMs + hostMs) / shape.layers;
  const lastMs = (perUpdate * others) / linkBytesPerMs;
  const exposedMs = accumulationSteps * exposedMicroMs + Math.max(0, lastMs - (microMs * 2) / 3) + lastMs / shape.layers;

  const optimizerMs = updateTime(given, accelerator.bandwidthGBps);
  const computeMs = accumulationSteps * microMs;
  const updateMs = computeMs + exposedMs + optimizerMs;
  const allTokens = tokens * accumulationSteps * worldSize;
  const peak = isHalf ? (accelerator.halfTflops ?? accelerator.singleTflops) : accelerator.singleTflops;
  return {
    updateMs, tokensPerSecond: allTokens / (updateMs / 1000), mfu: (flops * accumulationSteps) / (updateMs * 1e9 * (peak ?? accelerator.halfTflops! / 8)),
    parts: { computeMs, communicationMs: accumulationSteps * microLinkMs + lastMs, optimizerMs, exposedMs },
  };
}

/** FLOPs per millisecond at the stated efficiency. Where no rate of f32 is published, an eighth of the two-byte rate is taken, as on A100. */
function rateOf({ precision }: TorchCase, { halfTflops, singleTflops, bandwidthGBps, hasBf16 }: DeviceSpec['accelerator']): { readonly flopsPerMs: number; readonly isHalf: boolean } {
  const half = halfTflops ?? singleTflops ?? 1;
  const single = singleTflops ?? half / 8;
  const wantsBf16 = precision === 'bf16' || precision === 'bf16-weights';
  if (precision === 'f32' || (wantsBf16 && !hasBf16)) return { flopsPerMs: single * 1e9 * SINGLE_EFFICIENCY, isHalf: false };
  const efficiency = bandwidthGBps / half < FAST_BYTES_PER_KILOFLOP ? HALF_EFFICIENCY_FAST : HALF_EFFICIENCY;
  return { flopsPerMs: half * 1e9 * efficiency, isHalf: true };
}

/** Work over what the model needs: recompute of a layer is one more forward, a third of forward and backward; of all but its products, some 3 %. */
function workFactor({ shape, recompute }: TorchCase): number {
  switch (recompute.kind) {
    case 'none':
      return 1;
    case 'selective':
      return 1.04;
    case 'every-second-product':
      return 1 + 1 / 6;
    case 'layers':
      return 1 + (1 / 3) * (recompute.layers / shape.layers);
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
  const state = { adamw: 2 * element, adamw_8bit: 2, adafactor: 0.1, lion: element, sgd: element }[optimizer.kind];
  const passes = given.optimizerStep === 'fused' ? 1 : 2;
  const shards = sharding === 'fsdp' || sharding === 'zero2' ? worldSize : 1;
  const bytes = (countShape(given.shape).total - given.frozenParameters) * (2 * element + element + 2 * state) * passes / shards;
  return cpuOffload ? (bytes * ranksPerNode) / (HOST_MEMORY_GBPS * 1e6) : bytes / (bandwidthGBps * 1e6 * BANDWIDTH_EFFICIENCY);
}

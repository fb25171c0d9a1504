/**
 * Bytes that one rank of a PyTorch run holds on its device: an estimate, unlike the embedded engine's plan. The peak is the largest of three phases
 * (end of forward with the loss; backward, layer by layer; optimizer step), not a sum over them. Sources stand at each formula; how far it is from
 * measurements, the test of public measurements prints.
 */

import { GIB, MIB } from '../base/bytes.ts';
import { backwardPeak, deadLogits, forwardPeak, largestGradient, libraryBytes, stepSizes, transientBytes, type Transient } from './estimate-transients.ts';
import { countShape } from './model-shape.ts';
import type { TorchCase } from './torch-case.ts';

/** What holds memory, in the order in which it is shown. Parameter copies are those that FSDP gathers or autocast casts. */
export const MEMORY_CLASSES = ['parameters', 'gradients', 'optimizer state', 'parameter copies', 'activations', 'logits and loss', 'workspace', 'allocator slack', 'context'] as const;
export type MemoryClass = (typeof MEMORY_CLASSES)[number];
export type ClassBytes = Readonly<Record<MemoryClass, number>>;

export const PHASES = ['forward and loss', 'backward', 'optimizer step'] as const;
export type Phase = (typeof PHASES)[number];

export interface MemoryEstimate {
  /** Tensors alive at the peak: torch.cuda.max_memory_allocated. */
  readonly allocatedBytes: number;
  /** With what the allocator keeps but cannot use: torch.cuda.max_memory_reserved. */
  readonly reservedBytes: number;
  /** With the context and the communication library's buffers: what NVML and nvidia-smi count, and what must fit. */
  readonly deviceBytes: number;
  readonly peakPhase: Phase;
  /** At the peak; sums to `deviceBytes`. */
  readonly classes: ClassBytes;
  readonly phases: readonly { readonly phase: Phase; readonly allocatedBytes: number }[];
  /** Of all ranks of one node, with CPU offload: in the memory of the host. */
  readonly hostBytes: number;
}

/**
 * Reserved by the caching allocator but of no use, relative to what comes and goes within a step: weights, gradients and state are allocated once and
 * fragment nothing. One figure for all, the middle of what the public readings of reserved and device memory leave over: 6 to 28 %. It agrees
 * with out-of-memory messages in issue threads, where 0 to 7 % of everything is reserved and unused (Open-Sora#697, VGGT-Long#6, VGen#104, CoSeR#10).
 */
const TRANSIENT_SLACK = 0.15;
/** CUDA context with PyTorch's kernels (loaded lazily since CUDA 11.8) and cuBLAS; a llm.c log on an A800 has 855 MiB with its buffers, V100 in 2022 1343 MiB. */
export const CONTEXT_BYTES = 600 * MIB;
/** NCCL's channels and buffers, outside the allocator: several hundred MiB per communicator of eight ranks. */
const NCCL_BYTES = 400 * MIB;
const F32 = 4;

export function estimateMemory(given: TorchCase): MemoryEstimate {
  const parts = heldParts(given);
  const sizes = stepSizes(given, parts.gradients);
  const step: Transient = {
    gradients: given.update === 'in-backward' ? largestGradient(given) : parts.gradients, gathered: 0, activations: 0, logits: 0, workspace: libraryBytes(given) + stepTemporaries(given),
  };
  const candidates = ([['forward and loss', forwardPeak(given, sizes)], ['backward', backwardPeak(given, sizes)], ['optimizer step', step]] as const)
    .map(([phase, transient]) => ({ phase, transient, allocatedBytes: parts.parameters + parts.state + transientBytes(transient) }));
  const peak = candidates.reduce((most, each) => (each.allocatedBytes > most.allocatedBytes ? each : most));
  const { activations, logits, workspace, gathered } = peak.transient;
  const slack = TRANSIENT_SLACK * (activations + logits + workspace + gathered) + deadLogits(given);
  const context = (given.contextBytes ?? CONTEXT_BYTES) + (given.worldSize > 1 ? NCCL_BYTES : 0);
  const classes: ClassBytes = {
    parameters: parts.parameters, gradients: peak.transient.gradients, 'optimizer state': parts.state, 'parameter copies': peak.transient.gathered, activations: peak.transient.activations,
    'logits and loss': peak.transient.logits, workspace: peak.transient.workspace, 'allocator slack': slack, context,
  };
  return {
    allocatedBytes: peak.allocatedBytes, reservedBytes: peak.allocatedBytes + slack, deviceBytes: peak.allocatedBytes + slack + context, peakPhase: peak.phase, classes,
    phases: candidates.map(({ phase, allocatedBytes }) => ({ phase, allocatedBytes })), hostBytes: parts.hostBytes,
  };
}

/** Python with PyTorch, transformers and what they load, before there is a model; measured with torch 2.13, docs/experiments.md, section 26. */
const HOST_PROCESS_BYTES = 400 * MIB;

/**
 * The resident set of a rank that computes on a CPU, as if the system's allocator kept of what is freed what PyTorch's keeps on a GPU. It keeps up to a
 * third more, above all where layers are computed again or sharded (section 26).
 */
export function estimateResidentBytes(given: TorchCase): number {
  return HOST_PROCESS_BYTES + estimateMemory({ ...given, onHost: true }).reservedBytes;
}

interface HeldParts {
  readonly parameters: number;
  /** When all of them are there. */
  readonly gradients: number;
  readonly state: number;
  readonly hostBytes: number;
}

/**
 * Weights, gradients and state of one rank. f32 weights with AdamW are 4 + 4 + 8 bytes per parameter, bf16 ones 2 + 2 + 4 (Rajbhandari et al. 2020);
 * ZeRO-2 and FSDP keep 1 / worldSize of them; with CPU offload the host has them and the device two layers on their way.
 */
function heldParts(given: TorchCase): HeldParts {
  const { shape, worldSize, sharding } = given;
  const counts = countShape(shape);
  const shards = sharding === 'fsdp' || sharding === 'zero2' ? worldSize : 1;
  const element = given.precision === 'bf16-weights' ? 2 : F32;
  const trained = counts.total - given.frozenParameters;
  const parameters = (counts.total * element) / shards;
  const gradients = (trained * element) / shards;
  const state = stateBytes(given) / shards;
  if (!given.cpuOffload) return { parameters, gradients, state, hostBytes: 0 };
  const passing = (2 * counts.layer * element) / shards;
  return { parameters: passing, gradients: passing, state: 0, hostBytes: (parameters + gradients + state) * given.ranksPerNode };
}

/** Bytes per value of AdamW's two moments, in codes of `bits` with one f32 scale per `block` values. */
function codedMomentBytes(bits: number, block: number): number {
  return 2 * (bits / 8 + F32 / block);
}

/**
 * Bytes of optimizer state of the whole model. Moments have the type of the weights; eight-bit ones are codes with one f32 scale per 256 (Dettmers et
 * al. 2022), four-bit ones with one per 128, embeddings among them (Li et al. 2023). Vectors, which keep moments of the weights' type, are too few to count.
 */
function stateBytes({ shape, optimizer, precision, frozenParameters }: TorchCase): number {
  const counts = countShape(shape);
  const trained = counts.total - frozenParameters;
  const element = precision === 'bf16-weights' ? 2 : F32;
  switch (optimizer.kind) {
    case 'adamw':
      return 2 * element * trained;
    case 'adamw_8bit': {
      const wide = optimizer.embeddings ? 0 : Math.min(trained, counts.embedding + shape.learnedPositions * shape.width);
      return codedMomentBytes(8, 256) * (trained - wide) + 2 * element * wide;
    }
    case 'adamw_4bit':
      return codedMomentBytes(4, 128) * trained;
    case 'adafactor':
      // One row and one column of f32 per matrix (Shazeer & Stern 2018): D + F is near enough.
      return (optimizer.beta1 > 0 ? element * trained : 0) + F32 * shape.layers * 8 * (shape.width + shape.feedForwardWidth) + F32 * (shape.vocabularySize + shape.width) * 2;
    case 'lion':
      return element * trained;
    case 'sgd':
      return optimizer.momentum > 0 ? element * trained : 0;
    default:
      return optimizer satisfies never;
  }
}

/** Of the update: PyTorch's `foreach` makes one more copy of all weights (documentation of torch.optim), loops and most others a few of the largest tensor. */
function stepTemporaries(given: TorchCase): number {
  const counts = countShape(given.shape);
  if (given.cpuOffload) return 0;
  const element = given.precision === 'bf16-weights' ? 2 : F32;
  const shards = given.sharding === 'fsdp' || given.sharding === 'zero2' ? given.worldSize : 1;
  if (given.optimizerStep === 'fused') return 0;
  // Adafactor of transformers makes its update in f32, beside copies of gradient and weight.
  const copies = given.optimizer.kind === 'adafactor' ? 3 : 2;
  return (given.optimizerStep === 'foreach' ? element * counts.total : copies * F32 * counts.largest) / shards;
}

/** How far device memory may be from the estimate: the worst of the complete public measurements, see docs/experiments.md. */
export const MEMORY_ERROR = 0.1;

/** The least memory of a device that a plan of so many bytes is said to fit. */
export function neededBytes(deviceBytes: number): number {
  return Math.ceil((deviceBytes * (1 + MEMORY_ERROR)) / (GIB / 100)) * (GIB / 100);
}

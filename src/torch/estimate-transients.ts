/**
 * What comes and goes within a step of a PyTorch run: copies of weights, gradients, saved activations and the logits, at the largest moment of forward
 * with loss and of backward, which goes from the last layer to the first, so that activations shrink while gradients grow.
 */

import { MIB } from '../base/bytes.ts';
import { blockBytes, blockPrecision, type BlockBytes, type BlockPrecision } from './estimate-activations.ts';
import { countShape, type ParameterCounts } from './model-shape.ts';
import type { TorchCase } from './torch-case.ts';

const F32 = 4;

/** PyTorch's getChosenWorkspaceSize (ATen/cuda/CublasHandlePool.cpp): 32 MiB on Hopper, 8.1 MiB elsewhere, per handle; the larger one is taken, twice. */
const CUBLAS_BYTES = 64 * MIB;

/** What the device's library of products keeps for itself. */
export function libraryBytes({ onHost }: Pick<TorchCase, 'onHost'>): number {
  return onHost === true ? 0 : CUBLAS_BYTES;
}

/** Bytes at one moment. */
export interface Transient {
  readonly gradients: number;
  /** Copies of weights: gathered by FSDP, or cast by autocast. */
  readonly gathered: number;
  readonly activations: number;
  readonly logits: number;
  readonly workspace: number;
}

export function transientBytes({ gradients, gathered, activations, logits, workspace }: Transient): number {
  return gradients + gathered + activations + logits + workspace;
}

/** What the moments of a step are made of. */
export interface StepSizes {
  readonly counts: ParameterCounts;
  /** Of one micro-batch. */
  readonly tokens: number;
  readonly block: BlockPrecision;
  /** Bytes of an element in products, and in the residual stream. */
  readonly element: number;
  readonly stream: number;
  readonly perToken: BlockBytes;
  /** All gradients of this rank, and what of them is there while a micro-step runs. */
  readonly gradients: number;
  readonly accumulated: number;
  /** Autocast's two-byte copies of one layer's f32 matrices, and of the head's: kept until autocast ends, and as long as backward needs them. */
  readonly castLayer: number;
  readonly castHead: number;
  /** FSDP's whole copies: of what is in no layer, and of the layers that exist at a time (current, gathered ahead, and the buffer it is gathered into). */
  readonly gatheredRoot: number;
  readonly gatheredLayers: number;
  /** Gradients of one unit until they are reduced: as they were computed, and copied to f32 for the sum (FSDP2's foreach_reduce). */
  readonly reducedLayer: number;
  readonly reducedRoot: number;
  /** The head's gradient waits for the rest of the root unit, whose tensors are reduced together. */
  readonly waitingHead: number;
}

export function stepSizes(given: TorchCase, gradients: number): StepSizes {
  const { shape, microBatchSize, rowLength, worldSize, sharding, precision } = given;
  const counts = countShape(shape);
  const isSharded = sharding === 'fsdp' || sharding === 'zero2';
  const gathers = isSharded && (worldSize > 1 || given.cpuOffload);
  const block = blockPrecision(precision, isSharded);
  const element = block === 'f32' ? F32 : 2;
  const head = shape.tiedHead ? counts.embedding : counts.outside - counts.embedding;
  return {
    counts, block, element, gradients, tokens: microBatchSize * rowLength, stream: block === 'low' ? 2 : F32,
    perToken: blockBytes(shape, { precision: block, attention: given.attention, rowLength, compiled: given.compiled }),
    accumulated: given.accumulationSteps > 1 || given.gradientsStay ? gradients : 0,
    castLayer: block === 'autocast' ? 2 * counts.layerMatrices : 0, castHead: block === 'autocast' ? 2 * counts.embedding : 0,
    gatheredRoot: gathers ? element * counts.outside : 0, gatheredLayers: gathers ? element * counts.layer * (sharding === 'zero2' ? shape.layers : 3) : 0,
    reducedLayer: gathers ? (element + F32) * counts.layer : 0, reducedRoot: gathers ? (element + F32) * counts.outside : 0, waitingHead: gathers ? element * head : 0,
  };
}

/** What one layer keeps from forward to backward. */
function keptBytes({ recompute }: TorchCase, { tokens, perToken }: StepSizes, layer: number): number {
  switch (recompute.kind) {
    case 'none':
      return tokens * perToken.saved;
    case 'selective':
      return tokens * perToken.products;
    case 'every-second-product':
      return tokens * perToken.everySecondProduct;
    case 'layers':
      if (layer >= recompute.layers) return tokens * perToken.saved;
      return recompute.offloaded === true ? 0 : tokens * perToken.input;
    default:
      return recompute satisfies never;
  }
}

/** The end of forward with the loss; or, where layers are computed again, inside the last of them, whose values exist before they are dropped. */
export function forwardPeak(given: TorchCase, sizes: StepSizes): Transient {
  const { shape, rowLength, attention } = given;
  const { tokens, stream, element, perToken, castLayer, castHead, gatheredRoot, gatheredLayers, accumulated } = sizes;
  // Final norm with its input and output, the embedding's output; with a mask, one element per pair.
  const outside = tokens * (F32 + 2 * stream + element) * shape.width + (attention === 'masked' ? element * tokens * rowLength : 0);
  const kept = Array.from({ length: shape.layers }, (_, layer) => keptBytes(given, sizes, layer)).reduce((sum, each) => sum + each, outside);
  const atLoss: Transient = {
    gradients: accumulated, gathered: gatheredRoot + gatheredLayers + shape.layers * castLayer + castHead, activations: kept, logits: logitBytes(given, sizes), workspace: libraryBytes(given),
  };
  const dropped = Math.max(0, tokens * perToken.saved - keptBytes(given, sizes, 0));
  return larger(atLoss, { ...atLoss, activations: kept + dropped, logits: 0 });
}

/** Layer by layer, and the end, where the gradients of embedding and head are complete. */
export function backwardPeak(given: TorchCase, sizes: StepSizes): Transient {
  const { shape, update, recompute } = given;
  const { counts, tokens, stream, perToken, gradients, accumulated, castLayer, gatheredRoot, gatheredLayers, reducedLayer, reducedRoot, waitingHead } = sizes;
  const inBackward = update === 'in-backward';
  const perParameter = gradients / counts.total;
  let left = Array.from({ length: shape.layers }, (_, layer) => keptBytes(given, sizes, layer)).reduce((sum, each) => sum + each, 0);
  let grown = shape.tiedHead ? counts.embedding : counts.outside - counts.embedding;
  let most: Transient = {
    gradients: (inBackward ? largestGradient(given) : gradients) + reducedRoot, gathered: gatheredRoot, activations: 2 * tokens * shape.width * stream, logits: 0, workspace: libraryBytes(given),
  };
  for (let layer = shape.layers - 1; layer >= 0; layer--) {
    const kept = keptBytes(given, sizes, layer);
    grown += counts.layer;
    const own = inBackward ? perParameter * (counts.layer + (shape.tiedHead ? counts.embedding : 0)) : Math.min(gradients, perParameter * grown);
    // Layers that are computed again cast their weights again; the others hold the copies that forward made.
    const castLayers = recompute.kind === 'none' ? layer + 1 : recompute.kind === 'layers' ? 1 + Math.max(0, layer - recompute.layers) : 1;
    most = larger(most, {
      gradients: Math.max(accumulated, own) + reducedLayer + waitingHead, gathered: gatheredRoot + gatheredLayers + castLayers * castLayer,
      activations: tokens * (shape.width * stream + perToken.saved + perToken.gradients) + left - kept, logits: 0, workspace: libraryBytes(given),
    });
    left -= kept;
  }
  return most;
}

/** With the optimizer in backward, no more than the largest gradient outlives its layer. */
export function largestGradient({ shape, precision }: TorchCase): number {
  return countShape(shape).embedding * (precision === 'bf16-weights' ? 2 : F32);
}

/** The block of the two-byte logits is free when the loss runs backward, but none of the f32 tensors fits into it: it stays reserved. */
export function deadLogits({ shape, loss, precision, microBatchSize, rowLength }: TorchCase): number {
  return loss.kind === 'whole' && precision !== 'f32' ? 2 * microBatchSize * rowLength * shape.vocabularySize : 0;
}

/**
 * Logits with their loss, at the worst moment. Whole: log-softmax in f32, the gradient of the loss and of the log-softmax, 12 bytes per entry
 * (aten's log_softmax and nll_loss with their backward formulas; in two bytes, the logits are gone by then), or later the gradients of logits and head.
 * Chunked: the same for one slice, computed again in backward, while the head's gradient is summed over slices: the sum and what the next slice
 * adds. `upcast`: the two-byte logits and their gradients exist whole, what is f32 for one slice of eight (torchtune).
 */
function logitBytes({ shape, loss }: TorchCase, { tokens, block, element }: StepSizes): number {
  const { vocabularySize, width } = shape;
  const head = vocabularySize * width;
  // Autocast's products give two-byte gradients of f32 weights, which are then cast.
  const headGradient = (block === 'autocast' ? 2 + F32 : element) * head;
  const whole = Math.max(3 * F32 * tokens * vocabularySize, element * tokens * vocabularySize + headGradient);
  switch (loss.kind) {
    case 'whole':
      return whole;
    case 'chunked':
      if (loss.tokens >= tokens) return whole;
      return (element + 3 * F32) * loss.tokens * vocabularySize + element * tokens * width + headGradient + (block === 'autocast' ? F32 : element) * head;
    case 'upcast':
      return 2 * element * tokens * vocabularySize;
    default:
      return loss satisfies never;
  }
}

function larger(a: Transient, b: Transient): Transient {
  return transientBytes(a) >= transientBytes(b) ? a : b;
}

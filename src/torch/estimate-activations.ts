/**
 * What autograd saves of one transformer block, in bytes per token. Counted tensor by tensor from transformers 5 and compared, on tiny shapes, with
 * what `torch.autograd.graph.saved_tensors_hooks` sees (worker/measure.py --saved; the test holds the figures). The fused attention
 * kernels save q, k, v, their output and one f32 log-sum-exp per head and token (Dao et al. 2022); written out, attention saves scores of every pair
 * of tokens. Recompute keeps a layer's input only (Chen et al. 2016), or also the results of products and attention (Korthikanti et al. 2022).
 */

import type { TorchPrecision } from '../run/torch-plan.ts';
import type { ModelShape } from './model-shape.ts';

/**
 * Element types of one block. `f32`; `autocast`: matrices' inputs are cast, once for each product that reads them, while the residual stream and norms
 * stay f32; `low`: weights and stream have two bytes (weights in bf16, or gathered so by FSDP's mixed precision).
 */
export type BlockPrecision = 'f32' | 'autocast' | 'low';

/** `gathersLow`: FSDP's mixed precision gives the block weights and inputs of two bytes, so that nothing is left to autocast. */
export function blockPrecision(precision: TorchPrecision, gathersLow: boolean): BlockPrecision {
  if (precision === 'f32') return 'f32';
  return precision === 'bf16-weights' || gathersLow ? 'low' : 'autocast';
}

/**
 * `fused`; `flex`: so too, but selective recompute does not see its result, which it computes again; `masked`: fused with a mask of every pair, for which
 * k and v are repeated for every query head; `eager`: written out.
 */
export type BlockAttention = 'fused' | 'flex' | 'masked' | 'eager';

export interface BlockOptions {
  readonly precision: BlockPrecision;
  readonly attention: BlockAttention;
  /** T */
  readonly rowLength: number;
  /** torch.compile of the block: norms are fused with what reads them and keep their input alone. */
  readonly compiled: boolean;
}

/** Bytes per token of one block. */
export interface BlockBytes {
  /** Everything that backward needs. */
  readonly saved: number;
  /** The block's input. */
  readonly input: number;
  /** Input, and the results of every product and of attention, where it is kept. */
  readonly products: number;
  /** The same with every second product left out, as torchtitan's selective checkpointing does. */
  readonly everySecondProduct: number;
  /** Gradients of activations that are alive beside the saved values while the block runs backward: two of the widest, and the stream's. */
  readonly gradients: number;
}

const F32 = 4;

export function blockBytes(shape: ModelShape, options: BlockOptions): BlockBytes {
  const { width: D, heads: H, keyValueHeads: G, headWidth: K, feedForwardWidth: F, features } = shape;
  const { precision, attention } = options;
  const element = precision === 'f32' ? F32 : 2;
  const stream = precision === 'low' ? 2 : F32;
  const isEager = attention === 'eager' || features.softCap;
  const active = shape.activeExperts;
  const upProducts = features.mlp === 'gated' ? 2 : 1;
  const isGated = features.mlp === 'gated' || features.mlp === 'gated-fused';
  const upWidth = isGated ? 2 * F : F;
  const saved =
    normBytes(shape, { element, stream, ...options }) +
    inputCopies(shape, { element, stream, precision }, features.qkv === 'separate' ? 3 : 1) +
    (isEager ? eagerBytes(shape, { element, ...options }) : fusedBytes(shape, element, attention === 'masked')) +
    inputCopies(shape, { element, stream, precision }, upProducts * active) +
    mlpTensors(shape) * element * F * active +
    dropoutBytes(shape, { element, isEager, ...options });
  const attentionResult = attention === 'flex' ? 0 : element * H * K + (isEager ? 0 : F32 * H);
  const products = [H * K, G * K, G * K, D, ...(isGated ? [F, F] : [F]), D].map((columns) => element * columns);
  return {
    saved,
    input: stream * D,
    products: stream * D + attentionResult + sum(products) + (active - 1) * element * (upWidth + D),
    everySecondProduct: stream * D + attentionResult + sum(products.filter((_, index) => index % 2 === 0)),
    gradients: 2 * element * Math.max(F, isEager ? H * options.rowLength : 0, H * K) + 2 * stream * D,
  };
}

interface Types {
  readonly element: number;
  readonly stream: number;
  readonly precision: BlockPrecision;
}

/** Norms' own saved values: RMSNorm is written out in transformers (f32 copy of its input, normed value, 1/rms), LayerNorm is one op that saves its input. */
function normBytes({ width: D, heads: H, keyValueHeads: G, headWidth: K, features }: ModelShape, { element, stream, compiled }: Types & BlockOptions): number {
  const count = features.normPlace === 'both' ? 4 : 2;
  const inputs = features.normPlace === 'parallel' ? 1 : count;
  const normed = features.norm === 'rms-f32' ? F32 : stream;
  const statistics = features.norm === 'layer' ? 2 * F32 : F32;
  if (compiled) return inputs * stream * D + count * statistics;
  const own = features.norm === 'layer' ? inputs * stream * D + count * statistics : count * ((F32 + normed) * D + statistics);
  const headNorm = features.norm === 'rms-f32' ? F32 : element;
  const ofHeads = features.qkNorm === 'none' ? 0 : (F32 + headNorm) * (H + G) * K + F32 * (features.qkNorm === 'head' ? H + G : 2);
  return own + ofHeads;
}

/** Inputs of the products that read a norm's output (or the stream itself): one tensor for all in f32 and `low`, a cast each under autocast. */
function inputCopies({ width: D, features }: ModelShape, { element, stream, precision }: Types, products: number): number {
  if (precision === 'autocast') return products * element * D;
  return features.normPlace === 'after' ? stream * D : element * D;
}

/** q, k, v, the output and the log-sum-exp; what is still a view of a fused product holds all of it. */
function fusedBytes({ heads: H, keyValueHeads: G, headWidth: K, features }: ModelShape, element: number, masked: boolean): number {
  const keyValues = masked ? 2 * H * K : 2 * G * K;
  const held = features.qkv === 'fused-rotary' ? H * K + G * K + (H + 2 * G) * K + H * K : H * K + keyValues;
  return element * (held + H * K) + F32 * H;
}

/** Copies of q, k and v as batched products take them, the output's copy, the softmax in f32 and, in low precision, its cast. */
function eagerBytes({ heads: H, headWidth: K, features }: ModelShape, { element, rowLength }: { readonly element: number; readonly rowLength: number }): number {
  const cast = element === F32 ? 0 : element;
  const tanh = features.softCap ? element : 0;
  return 4 * element * H * K + H * rowLength * (F32 + cast + tanh);
}

/** How many tensors of F columns the feed-forward part saves: gate, up, activation and product; or what the activation is written out in. */
function mlpTensors({ features }: ModelShape): number {
  switch (features.mlp) {
    case 'gated':
    case 'gated-fused':
      return 4;
    case 'gelu-tanh':
      return 5;
    case 'gelu':
      return 2;
    case 'relu':
      return 1;
    default:
      return features.mlp satisfies never;
  }
}

/** Masks of one byte per element, after attention, after the feed-forward part and of the probabilities, whose dropped copy is saved too in f32. */
function dropoutBytes({ width: D, heads: H, features }: ModelShape, { element, isEager, rowLength }: { readonly element: number; readonly isEager: boolean; readonly rowLength: number }): number {
  if (!features.dropout) return 0;
  return 2 * D + (isEager ? H * rowLength * (1 + (element === F32 ? F32 : 0)) : 0);
}

function sum(list: readonly number[]): number {
  return list.reduce((total, each) => total + each, 0);
}

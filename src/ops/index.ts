/** The table of ops. A new op is one file beside this one, one line here, and one kernel per device. */

import type { ShapeRules } from '../graph/builder.ts';
import type { Attrs } from '../graph/graph.ts';
import { byteCount, type TensorType } from '../graph/shape.ts';
import { adafactorOp } from './adafactor.ts';
import { adamw8bitOp } from './adamw-8bit.ts';
import { adamwOp } from './adamw.ts';
import { attentionCachedOp, cacheWriteOp, selectTokenOp } from './attention-cached.ts';
import { attentionBackwardOp, attentionOp } from './attention.ts';
import { castOp } from './cast.ts';
import { crossEntropyBackwardOp, crossEntropyOp } from './cross-entropy.ts';
import { embeddingBackwardOp, embeddingOp } from './embedding.ts';
import { geluBackwardOp, geluOp } from './gelu.ts';
import { globalNormOp, sumSquaresOp } from './global-norm.ts';
import { layerNormBackwardOp, layerNormOp, layerNormWeightGradientOp } from './layernorm.ts';
import { linearCrossEntropyBackwardOp, linearCrossEntropyOp } from './linear-cross-entropy.ts';
import { lionOp } from './lion.ts';
import { columnSumOp, matmulNnOp, matmulNtOp, matmulTnOp } from './matmul.ts';
import { offloadFlushOp, offloadReadOp, offloadWaitOp, offloadWriteOp } from './offload.ts';
import type { Op } from './op.ts';
import { addOp, concatOp, onesOp, scaleOp, sliceOp } from './pointwise.ts';
import { rmsNormBackwardOp, rmsNormOp, rmsNormWeightGradientOp } from './rmsnorm.ts';
import { rotaryOp, rotaryTableOp } from './rotary.ts';
import { sgdOp } from './sgd.ts';
import { swigluBackwardOp, swigluOp } from './swiglu.ts';

const ALL: readonly Op[] = [
  embeddingOp, embeddingBackwardOp,
  matmulNnOp, matmulNtOp, matmulTnOp, columnSumOp,
  rmsNormOp, rmsNormBackwardOp, rmsNormWeightGradientOp,
  layerNormOp, layerNormBackwardOp, layerNormWeightGradientOp,
  rotaryTableOp, rotaryOp,
  attentionOp, attentionBackwardOp, attentionCachedOp, cacheWriteOp, selectTokenOp,
  swigluOp, swigluBackwardOp, geluOp, geluBackwardOp,
  addOp, scaleOp, sliceOp, concatOp, onesOp, castOp,
  crossEntropyOp, crossEntropyBackwardOp,
  linearCrossEntropyOp, linearCrossEntropyBackwardOp,
  sumSquaresOp, globalNormOp, adamwOp, sgdOp,
  offloadReadOp, offloadWaitOp, offloadWriteOp, offloadFlushOp,
  adamw8bitOp, adafactorOp, lionOp,
];

export const OPS: ReadonlyMap<string, Op> = new Map(ALL.map((op) => [op.name, op]));

export function opOf(name: string): Op {
  const op = OPS.get(name);
  if (op === undefined) throw new RangeError(`there is no op '${name}'`);
  return op;
}

/** What graphs know of the ops. */
export const shapeRules: ShapeRules = { infer: (name, inputs, attrs) => opOf(name).infer(inputs, attrs) };

/** Bytes that must move when nothing is cached: what the op says, else each input and output once. */
export function bytesMoved(name: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number {
  const op = opOf(name);
  if (op.bytesMoved !== undefined) return op.bytesMoved(inputs, outputs, attrs);
  return [...inputs, ...outputs].reduce((sum, type) => sum + byteCount(type), 0);
}

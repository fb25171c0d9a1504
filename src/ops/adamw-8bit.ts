/** AdamW whose moments are kept as eight-bit codes in blocks of 256 (Dettmers et al. 2022, as bitsandbytes' 8-bit optimizers). */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import { adamwElement } from './adamw.ts';
import { CODE_BLOCK, SIGNED_CODE, UNSIGNED_CODE, decodeBlocks, encodeBlocks } from './dynamic-code.ts';
import { attr, type Op } from './op.ts';
import { expectParameter, expectRange, expectScalars, expectState, rangeAttrs, replaceRange, updateBytes, type RangedUpdate } from './parameter-update.ts';
import { at, expectCount, expectType } from './rules.ts';
import { updateSamples } from './update-samples.ts';

/** One moment: codes u8, of the parameter's shape or a range of it, and a scale f32 per block of 256. Zero bytes are a moment of 0. */
export interface CodedMoment {
  readonly codes: ValueId;
  readonly absmax: ValueId;
}

export interface Adamw8bitUpdate extends RangedUpdate {
  /** Signed codes, overwritten. */
  readonly firstMoment: CodedMoment;
  /** Unsigned codes, overwritten. */
  readonly secondMoment: CodedMoment;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export interface Adamw8bitResult {
  readonly parameter: ValueId;
  readonly firstMoment: CodedMoment;
  readonly secondMoment: CodedMoment;
  /** f32 [2]: Σ (m − its code's value)² and Σ m² of the new first moment. */
  readonly quantisation: ValueId;
}

const OVERWRITES = [0, 2, 3, 4, 5].map((input, output) => ({ output, input }));

/** As `adamwUpdate`, the moments expanded block by block, and encoded again with the block's new greatest magnitude. `first` is a multiple of 256. */
export function adamw8bitUpdate(b: GraphBuilder, u: Adamw8bitUpdate): Adamw8bitResult {
  const state = [u.firstMoment.codes, u.firstMoment.absmax, u.secondMoment.codes, u.secondMoment.absmax];
  const attrs = { beta1: u.beta1, beta2: u.beta2, epsilon: u.epsilon, weightDecay: u.weightDecay, ...rangeAttrs(u) };
  const outputs = b.node('adamw_8bit', [u.parameter, u.gradient, ...state, u.learningRate, u.step, u.gradientScale], attrs, { overwrites: OVERWRITES });
  return {
    parameter: at(outputs, 0),
    firstMoment: { codes: at(outputs, 1), absmax: at(outputs, 2) },
    secondMoment: { codes: at(outputs, 3), absmax: at(outputs, 4) },
    quantisation: at(outputs, 5),
  };
}

/** The type of the scales of `count` codes. */
export function absmaxType(count: number): TensorType {
  return tensor('f32', Math.ceil(count / CODE_BLOCK));
}

const sample = updateSamples({
  state: (shape) => [tensor('u8', ...shape), absmaxType(elementCount(shape)), tensor('u8', ...shape), absmaxType(elementCount(shape))],
  attrs: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, seed: 77 },
  element: (index, random) => (index % 2 === 0 ? Math.floor(256 * random()) : random()),
});

export const adamw8bitOp: Op = {
  name: 'adamw_8bit',
  attrs: ['beta1', 'beta2', 'epsilon', 'weightDecay', 'first', 'seed'],
  infer(inputs, attrs) {
    expectCount(inputs, 9);
    for (const name of this.attrs) attr(attrs, name);
    const [parameter, first, second] = [at(inputs, 0), at(inputs, 2), at(inputs, 4)];
    expectParameter(parameter, at(inputs, 1));
    expectState(parameter, [first, second], 'u8', 'codes');
    const count = elementCount(first.shape);
    expectRange(parameter, count, attrs, CODE_BLOCK);
    for (const index of [3, 5]) expectType(at(inputs, index), 'f32', absmaxType(count).shape, 'absmax');
    expectScalars(at(inputs, 6), at(inputs, 7), at(inputs, 8));
    return [parameter, first, at(inputs, 3), second, at(inputs, 5), tensor('f32', 2)];
  },
  flops: (inputs) => 40 * elementCount(at(inputs, 2).shape),
  bytesMoved(inputs) {
    const count = elementCount(at(inputs, 2).shape);
    return updateBytes(at(inputs, 0), count, 4 * count + 16 * Math.ceil(count / CODE_BLOCK) + 8);
  },
  mustOverwrite: () => OVERWRITES,
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [parameter, gradient] = [at(inputs, 0), at(inputs, 1)];
    const [rate, step, scale] = [at(inputs, 6)[0]!, at(inputs, 7)[0]!, at(inputs, 8)[0]!];
    const constants = {
      beta1: attr(attrs, 'beta1'), beta2: attr(attrs, 'beta2'), epsilon: attr(attrs, 'epsilon'), weightDecay: attr(attrs, 'weightDecay'), rate, step,
    };
    const from = attr(attrs, 'first');
    const first = decodeBlocks(SIGNED_CODE, at(inputs, 2), at(inputs, 3));
    const second = decodeBlocks(UNSIGNED_CODE, at(inputs, 4), at(inputs, 5));
    const updated = first.map((_, i) => {
      const element = adamwElement({ parameter: parameter[from + i]!, first: first[i]!, second: second[i]! }, gradient[from + i]! * scale, constants);
      [first[i], second[i]] = [element.first, element.second];
      return element.parameter;
    });
    const [m, v] = [encodeBlocks(SIGNED_CODE, first), encodeBlocks(UNSIGNED_CODE, second)];
    const kept = decodeBlocks(SIGNED_CODE, m.codes, m.scales);
    const quantisation = Float64Array.of(first.reduce((sum, x, i) => sum + (x - kept[i]!) ** 2, 0), first.reduce((sum, x) => sum + x ** 2, 0));
    return [replaceRange(parameter, updated, at(types, 0), attrs, step), m.codes, m.scales, v.codes, v.scales, quantisation];
  },
  samples: [
    sample('size 1, first step', [1], { step: 1, weightDecay: 0 }),
    sample('a block less one, decay', [5, 51], { step: 4, weightDecay: 0.1 }),
    sample('a block, first step', [16, 16], { step: 1, weightDecay: 0.1 }),
    sample('a block and one', [257], { step: 4, weightDecay: 0 }),
    sample('many blocks', [33, 257], { step: 1000, weightDecay: 0.1 }),
    sample('no gradient, first step', [3, 100], { step: 1, weightDecay: 0.1, scale: 0 }),
    sample('bf16, odd size', [3, 91], { step: 5, weightDecay: 0.1, dtype: 'bf16' }),
    sample('bf16, many blocks', [65, 81], { step: 7, weightDecay: 0.1, dtype: 'bf16' }),
    sample('a range', [41, 37], { step: 3, weightDecay: 0.1, first: 512, state: [300] }),
    sample('bf16, a range to the end', [41, 37], { step: 3, weightDecay: 0.1, dtype: 'bf16', first: 1024, state: [493] }),
  ],
};

/**
 * Values that live in the file beside the arena, and the staging buffers that they pass through. A transfer is begun by one node and waited for
 * by another, so that the schedule says how far ahead of its use a read begins, and the memory planner places the buffer. Transfers are done in
 * the order in which they were begun: a read that follows a write to the same bytes sees the new ones. At the end of a program nothing is under
 * way. A file begins as zeros.
 */

import type { GraphBuilder } from '../graph/builder.ts';
import { DTYPES, type DType } from '../graph/dtype.ts';
import type { Attrs, StorageClass, ValueId } from '../graph/graph.ts';
import { tensor, type TensorType } from '../graph/shape.ts';
import { attr, expect, misfit, type Op } from './op.ts';
import { at, expectCount, expectType, only } from './rules.ts';

/** Where a value, or a slice of one, lies in the file. */
export interface FilePlace {
  /** Index of a region of the graph. */
  readonly region: number;
  /** Bytes from the beginning of the region. */
  readonly at: number;
}

const TOKEN: TensorType = tensor('i32', 1);
const WAIT_OVERWRITES = [{ output: 0, input: 0 }];
const FLUSH_OVERWRITES = [{ output: 0, input: 1 }];

/** Begins to read the bytes of a value of `type`, which may be used after `offloadWait` only. `after`: the token of a write that comes before. */
export function offloadRead(b: GraphBuilder, type: TensorType, place: FilePlace, options: { readonly after?: ValueId; readonly storage?: StorageClass } = {}): ValueId {
  const [size0 = 1, size1 = 1, size2 = 1, size3 = 1] = type.shape;
  const attrs = { at: place.at, dtype: DTYPES.indexOf(type.dtype), rank: type.shape.length, size0, size1, size2, size3 };
  const { after, storage } = options;
  return only(b.node('offload_read', after === undefined ? [] : [after], attrs, { region: place.region, effect: true, ...(storage === undefined ? {} : { storage }) }));
}

/** Blocks until the read into the bytes of `y` is complete: `y` with its elements, in the same bytes. */
export function offloadWait(b: GraphBuilder, y: ValueId): ValueId {
  return only(b.node('offload_wait', [y], {}, { overwrites: WAIT_OVERWRITES }));
}

/** Begins to write `x`, whose bytes must stay as they are until `offloadFlush`: a token i32 [1] for it. */
export function offloadWrite(b: GraphBuilder, x: ValueId, place: FilePlace): ValueId {
  return only(b.node('offload_write', [x], { at: place.at }, { region: place.region, effect: true }));
}

/** Blocks until the write of `x` is complete: the token again, in the same bytes. */
export function offloadFlush(b: GraphBuilder, x: ValueId, token: ValueId): ValueId {
  return only(b.node('offload_flush', [x, token], {}, { overwrites: FLUSH_OVERWRITES, effect: true }));
}

function expectPlace(attrs: Attrs): void {
  const place = attr(attrs, 'at');
  if (!Number.isSafeInteger(place) || place < 0) misfit(`'at' must be a whole number of bytes below 2^53, got ${place}`);
}

/** The type that the attributes of `offload_read` describe. */
function typeOf(attrs: Attrs): TensorType {
  const dtype: DType | undefined = DTYPES[attr(attrs, 'dtype')];
  const rank = attr(attrs, 'rank');
  const sizes = [attr(attrs, 'size0'), attr(attrs, 'size1'), attr(attrs, 'size2'), attr(attrs, 'size3')];
  if (dtype === undefined) misfit(`'dtype' must be a whole number below ${DTYPES.length}, got ${attrs['dtype']}`);
  if (!Number.isInteger(rank) || rank < 0 || rank > sizes.length) misfit(`a value in the file has at most ${sizes.length} axes, got ${rank}`);
  if (!sizes.every((size, axis) => Number.isSafeInteger(size) && (axis < rank ? size >= 1 : size === 1))) {
    misfit(`the sizes must be whole numbers, 1 behind axis ${rank}, got ${sizes.join(', ')}`);
  }
  return { dtype, shape: sizes.slice(0, rank) };
}

/** Devices move the bytes themselves: see `Op.file`. */
function noElements(): never {
  throw new RangeError('what is read from a file is not a function of the inputs');
}

/** What the four have in common: no arithmetic, and nothing that moves through the caches of the processor. */
const TRANSFER = { flops: () => 0, bytesMoved: () => 0, bound: 'memory', samples: [] } as const;

export const offloadReadOp: Op = {
  ...TRANSFER,
  name: 'offload_read',
  file: 'read',
  attrs: ['at', 'dtype', 'rank', 'size0', 'size1', 'size2', 'size3'],
  infer(inputs, attrs) {
    expect(inputs.length <= 1, `takes a token at most, got ${inputs.length} inputs`);
    inputs.forEach((token) => expectType(token, TOKEN.dtype, TOKEN.shape, 'token'));
    expectPlace(attrs);
    return [typeOf(attrs)];
  },
  reference: noElements,
};

export const offloadWaitOp: Op = {
  ...TRANSFER,
  name: 'offload_wait',
  file: 'wait',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 1);
    return [at(inputs, 0)];
  },
  mustOverwrite: () => WAIT_OVERWRITES,
  reference: (inputs) => [at(inputs, 0).slice()],
};

export const offloadWriteOp: Op = {
  ...TRANSFER,
  name: 'offload_write',
  file: 'write',
  attrs: ['at'],
  infer(inputs, attrs) {
    expectCount(inputs, 1);
    expectPlace(attrs);
    return [TOKEN];
  },
  reference: () => [Float64Array.of(0)],
};

export const offloadFlushOp: Op = {
  ...TRANSFER,
  name: 'offload_flush',
  file: 'flush',
  attrs: [],
  infer(inputs) {
    expectCount(inputs, 2);
    expectType(at(inputs, 1), TOKEN.dtype, TOKEN.shape, 'token');
    return [TOKEN];
  },
  mustOverwrite: () => FLUSH_OVERWRITES,
  reference: (inputs) => [at(inputs, 1).slice()],
};

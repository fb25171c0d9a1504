/**
 * Scratch bytes of the cpu's kernels, computed without the native module: for planning where it cannot be loaded (a browser, another
 * machine). The same numbers as the `workspace` functions in `native/`, rounded up to whole cache lines; `workspace.test.ts` compares
 * them. They do not depend on the instruction set.
 */

import { evenBlock, JOINED_BELOW } from '../../ops/token-blocks.ts';
import { attr } from '../../ops/op.ts';
import type { Attrs } from '../../graph/graph.ts';
import { elementCount, lastAxis, leadingCount, type TensorType } from '../../graph/shape.ts';

const FLOAT_BYTES = 4;
const LINE_BYTES = 64;

/** Bytes that one instruction needs with `threads` threads, a multiple of 64; 0 for ops whose kernels need none. */
export function workspaceBytes(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs, threads: number): number {
  return roundUp(exactBytes(op, inputs, outputs, attrs, threads), LINE_BYTES);
}

function exactBytes(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs, threads: number): number {
  switch (op) {
    case 'matmul_nn':
    case 'matmul_nt':
    case 'matmul_tn': return FLOAT_BYTES * productFloats(productOf(op, inputs, outputs), threads);
    case 'linear_cross_entropy': return linearLossBytes(inputs, { blocks: attr(attrs, 'blocks'), needHidden: false, needWeight: false }, threads);
    case 'linear_cross_entropy_backward':
      return linearLossBytes(inputs, { blocks: attr(attrs, 'blocks'), needHidden: attr(attrs, 'needHidden') === 1, needWeight: attr(attrs, 'needWeight') === 1 }, threads);
    case 'attention':
    case 'attention_cached': return FLOAT_BYTES * threads * attentionFloats(attr(attrs, 'headWidth'));
    case 'attention_backward': return FLOAT_BYTES * attentionBackwardFloats(typeAt(inputs, 0), attrs, threads);
    case 'embedding_backward': return attr(attrs, 'mode') === 2 ? 16 * elementCount(typeAt(inputs, 0).shape) : 0; // two lists of i64
    case 'rmsnorm_weight_gradient':
    case 'layernorm_weight_gradient':
    case 'column_sum': return FLOAT_BYTES * cutTokens(typeAt(inputs, 0).shape).blocks * elementCount(typeAt(outputs, 0).shape); // native/token_sum.h
    case 'sum_squares': return 8 * Math.ceil(elementCount(typeAt(inputs, 0).shape) / 4096); // an f64 per block
    case 'adamw_8bit': return CODE_TABLE_BYTES + 16 * Math.ceil(elementCount(typeAt(inputs, 2).shape) / 4096);
    case 'adafactor': return adafactorBytes(typeAt(inputs, 0).shape);
    default: return 0;
  }
}

// --- native/product.h, native/matmul.c ---

const ROWS = 96;
const COLUMNS = 128;
const SHARED_LINES = 2048;
const GROUP_FLOATS = 1048576;
const SUM_ROWS = 1024;
const SUM_COLUMNS = 2048;
const ROW_MULTIPLE = 24;
const COLUMN_MULTIPLE = 32;
const PANEL_SLACK = 4; // native/tile.h

interface Product {
  readonly rows: number;
  readonly columns: number;
  /** How many blocks the inner axis is cut into, and the size of all but the last of each row. */
  readonly blocks: number;
  readonly blockSize: number;
  /** y has 16 bits, so sums are kept in f32 beside it. */
  readonly rounds: boolean;
}

function productOf(op: 'matmul_nn' | 'matmul_nt' | 'matmul_tn', inputs: readonly TensorType[], outputs: readonly TensorType[]): Product {
  const a = typeAt(inputs, 0).shape;
  const b = typeAt(inputs, 1).shape;
  const rounds = typeAt(outputs, 0).dtype !== 'f32';
  if (op === 'matmul_tn') {
    return { rows: lastAxis(a), columns: lastAxis(b), ...cutTokens(a), rounds };
  }
  const columns = (op === 'matmul_nt' ? b[0] : b[1]) ?? 1;
  return { rows: leadingCount(a), columns, ...cutEvenly(lastAxis(a), 1), rounds };
}

/** Of [..., T, M]: the tokens of all rows, as `tokenBlocks` cuts them. */
function cutTokens(shape: readonly number[]): Pick<Product, 'blocks' | 'blockSize'> {
  const length = shape.at(-2) ?? 1;
  const tokens = leadingCount(shape);
  const stretch = length < JOINED_BELOW ? tokens : length;
  return cutEvenly(stretch, tokens / stretch);
}

function cutEvenly(length: number, times: number): Pick<Product, 'blocks' | 'blockSize'> {
  const blockSize = evenBlock(length);
  return { blocks: times * Math.ceil(length / blockSize), blockSize };
}

function productFloats({ rows, columns, blocks, blockSize, rounds }: Product, threads: number): number {
  const steps = blockSize + PANEL_SLACK;
  const atMost = (lines: number, limit: number, multiple: number): number => roundUp(Math.min(lines, limit), multiple);
  const ownRows = rows > columns; // then b is shared; otherwise a
  const sharedLines = ownRows ? atMost(columns, SHARED_LINES, COLUMN_MULTIPLE) : atMost(rows, SHARED_LINES, ROW_MULTIPLE);
  const shared = Math.min(blocks * steps * sharedLines, Math.max(GROUP_FLOATS, steps * sharedLines));
  const sums = rounds ? partOf(rows, SUM_ROWS, ROW_MULTIPLE) * partOf(columns, SUM_COLUMNS, COLUMN_MULTIPLE) : 0;
  const own = steps * (ownRows ? atMost(rows, ROWS, ROW_MULTIPLE) : atMost(columns, COLUMNS, COLUMN_MULTIPLE));
  return shared + sums + threads * own;
}

/** `count` in equal parts of at most `limit`: the size of a part. */
function partOf(count: number, limit: number, multiple: number): number {
  return roundUp(Math.ceil(count / Math.ceil(count / limit)), multiple);
}

// --- native/linear_loss.c ---

interface LinearLoss {
  readonly blocks: number;
  readonly needHidden: boolean;
  readonly needWeight: boolean;
}

/** Logits and rows of one slice, the loss of each token, where things are, and the largest scratch of a product. */
function linearLossBytes(inputs: readonly TensorType[], { blocks: asked, needHidden, needWeight }: LinearLoss, threads: number): number {
  const [rows = 1, length = 1, width = 1] = typeAt(inputs, 0).shape;
  const [vocabulary = 1] = typeAt(inputs, 1).shape;
  const tokens = rows * length;
  const { blocks, blockSize } = cutTokens(typeAt(inputs, 0).shape);
  const room = Math.min(Math.min(asked, blocks) * blockSize, tokens);
  const products: Product[] = [room, Math.min(room, vocabulary), Math.min(room, width)].flatMap((lines) => [
    { rows: lines, columns: vocabulary, ...cutEvenly(width, 1), rounds: false },
    ...(needHidden ? [{ rows: lines, columns: width, ...cutEvenly(vocabulary, 1), rounds: false }] : []),
  ]);
  if (needWeight) products.push({ rows: vocabulary, columns: width, blocks, blockSize, rounds: false });
  const scratch = FLOAT_BYTES * Math.max(...products.map((product) => productFloats(product, threads)));
  const kept = [FLOAT_BYTES * room * vocabulary, FLOAT_BYTES * room * width, 8 * tokens, 8 * room, 8 * blocks];
  return kept.reduce((sum, bytes) => sum + roundUp(bytes, LINE_BYTES), scratch);
}

// --- native/attention.c, native/attention_block.h ---

const BLOCK = 96;
const WIDTH_MULTIPLE = 16;
const SHARERS = 4;
const STRETCH = 384;
const MOST_CHUNKS = 4;
const PASS_TOKENS = 1024;

function attentionFloats(headWidth: number): number {
  return roundUp(headWidth, WIDTH_MULTIPLE) * BLOCK * (2 + 2 * SHARERS) + BLOCK * BLOCK + BLOCK * (1 + 2 * SHARERS);
}

function attentionBackwardFloats(q: TensorType, attrs: Attrs, threads: number): number {
  const [rows = 1, length = 1] = q.shape;
  const room = roundUp(attr(attrs, 'headWidth'), WIDTH_MULTIPLE);
  const whole = roundUp(length, BLOCK);
  const chunk = roundUp(Math.ceil(length / Math.min(MOST_CHUNKS, Math.ceil(length / STRETCH))), BLOCK);
  const chunks = Math.ceil(length / chunk);
  const passRows = Math.min(rows, Math.ceil(PASS_TOKENS / length));
  const rounds = chunks > 1 && q.dtype !== 'f32'; // then chunk 0's part of dq is kept in f32 as well
  const headTokens = (chunks + 1) * whole - (chunk * chunks * (chunks - 1)) / 2 + (rounds ? whole : 0);
  const own = room * (5 * BLOCK + 2 * STRETCH) + 2 * BLOCK * BLOCK + 2 * BLOCK;
  return threads * own + passRows * attr(attrs, 'heads') * (whole + headTokens * room);
}

// --- native/optimizer_8bit.c, native/optimizer_adafactor.c ---

const CODE_TABLE_BYTES = 2 * 256 * FLOAT_BYTES;
const LEAST_ROWS = 64;
const MOST_BLOCKS = 256;

function adafactorBytes(shape: readonly number[]): number {
  const [rows = 1, columns] = shape;
  if (columns === undefined) return 8 * Math.ceil(rows / 4096);
  const blocks = Math.ceil(rows / (LEAST_ROWS * Math.ceil(rows / (LEAST_ROWS * MOST_BLOCKS))));
  const line = (bytes: number): number => roundUp(bytes, LINE_BYTES);
  return line(8 * blocks) + line(FLOAT_BYTES * rows) + line(FLOAT_BYTES * columns) + FLOAT_BYTES * blocks * columns;
}

function roundUp(count: number, multiple: number): number {
  return Math.ceil(count / multiple) * multiple;
}

function typeAt(types: readonly TensorType[], index: number): TensorType {
  const type = types[index];
  if (type === undefined) throw new RangeError(`operand ${index} is missing`);
  return type;
}

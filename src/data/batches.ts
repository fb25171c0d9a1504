/**
 * The stream of updates: documents in an order drawn from (seed, epoch), put into rows, rows into updates and micro-batches. All of it follows
 * from the file, the layout and the place in the stream, so a cursor of a few numbers resumes it exactly.
 */

import { FulltuneError } from '../base/errors.ts';
import { RandomStream } from '../base/random.ts';
import { layOut } from './micro-batch.ts';
import type { MicroBatch } from './micro-batch.ts';
import { countingUp, packRows, shuffleRows } from './packing.ts';
import type { PackedRows } from './packing.ts';
import type { TokenFile } from './token-file.ts';

export type { MicroBatch } from './micro-batch.ts';

/** Plus the epoch: the order of documents, and that of packed rows. */
const ORDER_STREAM = 0x0d00_0000;
const ROW_ORDER_STREAM = 0x0f00_0000;

interface UpdateFacts {
  /** Epochs done after this update, as a fraction. */
  readonly epoch: number;
  /** Whether this is the last update of its epoch. */
  readonly endsEpoch: boolean;
  /** Tokens of documents, without filling. */
  readonly tokens: number;
  readonly trainedTokens: number;
}

/** The rows of an update before they are laid out: documents of each, as indices in the file. */
export interface DrawnUpdate extends UpdateFacts {
  readonly rows: readonly Uint32Array[];
}

export interface UpdateBatch extends UpdateFacts {
  /** Without the ignored rows that fill the last micro-batch. */
  readonly rows: number;
  readonly microBatches: readonly MicroBatch[];
}

/** Where the stream stands; plain JSON. */
export interface Cursor {
  /** Epochs completed. */
  readonly epoch: number;
  /** Rows of the current epoch already given out. */
  readonly row: number;
  /** What must be the same for the numbers to mean the same rows. */
  readonly layout: string;
}

export interface BatchOptions {
  readonly file: TokenFile;
  /** Ascending; exactly one when packed. */
  readonly rowLengths: readonly number[];
  readonly packed: boolean;
  readonly rowsPerUpdate: number;
  readonly microBatchSize: number;
  readonly seed: number;
  /** A new order each epoch, else the file's own. */
  readonly shuffle: boolean;
}

export class BatchSource {
  private readonly options: BatchOptions;
  private readonly layout: string;
  private epoch = 0;
  private row = 0;
  private current: { readonly epoch: number; readonly rows: PackedRows } | undefined;
  private readonly rowCounts = new Map<number, number>();

  constructor(options: BatchOptions) {
    if (options.file.documents === 0) throw new RangeError('no documents');
    this.options = options;
    this.layout = layoutName(options);
  }

  /** Rows of an epoch. When packing, epochs differ by a few rows, and each has to be packed to know. */
  rowsInEpoch(epoch: number): number {
    const { packed, file } = this.options;
    if (!packed) return file.documents;
    let count = this.rowCounts.get(epoch);
    if (count === undefined) {
      count = this.current?.epoch === epoch ? this.current.rows.rows : epochRows(this.options, epoch).rows;
      this.rowCounts.set(epoch, count);
    }
    return count;
  }

  /** Of the current epoch; the last may have fewer rows. */
  get updatesPerEpoch(): number {
    return Math.ceil(this.rowsInEpoch(this.epoch) / this.options.rowsPerUpdate);
  }

  /** The next update, without end. All its rows are of one epoch. */
  next(): UpdateBatch {
    const { file, rowLengths, microBatchSize } = this.options;
    const { rows, ...facts } = this.draw();
    return { ...facts, rows: rows.length, microBatches: [...microBatchesOf(file, rows, rowLengths, microBatchSize)] };
  }

  /** As `next`, and no document is read. */
  draw(): DrawnUpdate {
    const { file, rowsPerUpdate } = this.options;
    const rows = this.rowsOf(this.epoch);
    const end = Math.min(rows.rows, this.row + rowsPerUpdate);
    const drawn = Array.from({ length: end - this.row }, (_, i) => documentsOf(rows, this.row + i));
    const endsEpoch = end === rows.rows;
    const epoch = endsEpoch ? this.epoch + 1 : this.epoch + end / rows.rows;
    if (endsEpoch) {
      this.epoch++;
      this.row = 0;
    } else {
      this.row = end;
    }
    const sum = (counts: Uint32Array): number => drawn.reduce((all, row) => row.reduce((more, index) => more + (counts[index] ?? 0), all), 0);
    return { epoch, endsEpoch, rows: drawn, tokens: sum(file.lengths), trainedTokens: sum(file.trainedCounts) };
  }

  cursor(): Cursor {
    return { epoch: this.epoch, row: this.row, layout: this.layout };
  }

  /** Continues where `cursor` was taken. Errors: E_CHECKPOINT when data, packing, row length or seed are others than they were. */
  seek(cursor: Cursor): void {
    if (cursor.layout !== this.layout) {
      const change = `then: ${cursor.layout}; now: ${this.layout}`;
      throw new FulltuneError('E_CHECKPOINT', `the data are laid out differently than when the checkpoint was written (${change})`, {
        remedy: 'Resume with the same dataset, max_length, packing, shuffle and seed.',
      });
    }
    this.epoch = cursor.epoch;
    this.row = cursor.row;
  }

  private rowsOf(epoch: number): PackedRows {
    if (this.current?.epoch === epoch) return this.current.rows;
    const rows = epochRows(this.options, epoch);
    this.current = { epoch, rows };
    return rows;
  }
}

/** Every document of the file once, in its own order. */
export function* evaluationBatches(
  file: TokenFile, { rowLengths, packed, microBatchSize }: Pick<BatchOptions, 'rowLengths' | 'packed' | 'microBatchSize'>,
): Generator<MicroBatch> {
  for (const block of evaluationRows(file, { rowLengths, packed })) yield* microBatchesOf(file, block, rowLengths, microBatchSize);
}

/** The rows of that, in blocks that are cut into micro-batches each by itself. */
export function* evaluationRows(file: TokenFile, { rowLengths, packed }: Pick<BatchOptions, 'rowLengths' | 'packed'>): Generator<readonly Uint32Array[]> {
  const rows = epochRows({ file, rowLengths, packed, seed: 0, shuffle: false }, 0);
  // Without packing, rows are grouped by length over the whole file; a block at a time keeps the lists of rows small.
  for (let start = 0; start < rows.rows; start += EVALUATION_BLOCK_ROWS) {
    const end = Math.min(rows.rows, start + EVALUATION_BLOCK_ROWS);
    yield Array.from({ length: end - start }, (_, i) => documentsOf(rows, start + i));
  }
}

const EVALUATION_BLOCK_ROWS = 4096;

function epochRows(
  { file, rowLengths, packed, seed, shuffle }: Omit<BatchOptions, 'rowsPerUpdate' | 'microBatchSize'>, epoch: number,
): PackedRows {
  const order = countingUp(file.documents);
  if (shuffle) new RandomStream(seed, ORDER_STREAM + epoch).shuffle(order);
  const longest = rowLengths.at(-1);
  if (longest === undefined) throw new RangeError('no row length');
  if (packed) {
    const rows = packRows(file.lengths, longest, { order });
    return shuffle ? shuffleRows(rows, new RandomStream(seed, ROW_ORDER_STREAM + epoch)) : rows;
  }
  return { rows: order.length, documents: order, starts: countingUp(order.length + 1) };
}

function documentsOf({ documents, starts }: PackedRows, row: number): Uint32Array {
  return documents.subarray(starts[row] ?? 0, starts[row + 1] ?? 0);
}

function tokensOf(file: TokenFile, row: Uint32Array): number {
  return row.reduce((sum, index) => sum + (file.lengths[index] ?? 0), 0);
}

/** Rows grouped by the shortest row length that holds them, in stable order; ignored rows fill the last micro-batch of each length. */
function* microBatchesOf(
  file: TokenFile, rows: readonly Uint32Array[], rowLengths: readonly number[], microBatchSize: number,
): Generator<MicroBatch> {
  const groups = rowLengths.map((): Uint32Array[] => []);
  for (const row of rows) {
    const tokens = tokensOf(file, row);
    const bucket = rowLengths.findIndex((length) => tokens <= length);
    const group = groups[bucket];
    if (group === undefined) throw new RangeError(`no row length of ${rowLengths.join(', ')} holds ${tokens} tokens`);
    group.push(row);
  }
  for (const [bucket, group] of groups.entries()) {
    for (let start = 0; start < group.length; start += microBatchSize) {
      yield layOut(file, group.slice(start, start + microBatchSize), rowLengths[bucket] ?? 0, microBatchSize);
    }
  }
}

/** Everything that decides which rows an epoch has and in which order. */
function layoutName({ file, rowLengths, packed, seed, shuffle }: BatchOptions): string {
  const tokens = file.lengths.reduce((sum, length) => sum + length, 0);
  const rows = packed ? `packed into rows of ${rowLengths.at(-1)}` : 'one document per row';
  return `${file.documents} documents with ${tokens} tokens, ${rows}, ${shuffle ? `shuffled by seed ${seed}` : 'not shuffled'}`;
}

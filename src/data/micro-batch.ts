/** Documents laid out as the int32 arrays that a step reads. */

import type { TokenFile } from './token-file.ts';

/** The label of tokens without loss, as in PyTorch and transformers. */
export const IGNORED_LABEL = -100;

/**
 * One micro-batch; every array is [microBatchSize · rowLength], row after row.
 *
 * `labels[t]` is the token after t, if that belongs to the same document and is learned, else -100. `positions` count from 0 in each
 * document. `documentStart[t]` is the index, within the row, of the first token of t's document. Filling has id 0 and label -100 and is a
 * document of its own.
 */
export interface MicroBatch {
  readonly rowLength: number;
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly positions: Int32Array;
  readonly documentStart: Int32Array;
  /** Labels that are not -100. */
  readonly trainedTokens: number;
}

/** Rows of document indices; those missing to `microBatchSize` are all filling. Errors: RangeError when a row does not hold its documents. */
export function layOut(file: TokenFile, rows: readonly Uint32Array[], rowLength: number, microBatchSize: number): MicroBatch {
  const size = microBatchSize * rowLength;
  const ids = new Int32Array(size);
  const labels = new Int32Array(size).fill(IGNORED_LABEL);
  const positions = new Int32Array(size);
  const documentStart = new Int32Array(size);
  let trainedTokens = 0;
  const place = (base: number, start: number, length: number): void => {
    for (let i = 0; i < length; i++) {
      positions[base + start + i] = i;
      documentStart[base + start + i] = start;
    }
  };
  for (let row = 0; row < microBatchSize; row++) {
    const base = row * rowLength;
    let start = 0;
    for (const index of rows[row] ?? []) {
      const document = file.read(index);
      const { length } = document.ids;
      if (start + length > rowLength) throw new RangeError(`a row of ${rowLength} tokens does not hold document ${index} of ${length}`);
      ids.set(document.ids, base + start);
      for (let i = 1; i < length; i++) {
        if (document.trained[i] === 1) {
          labels[base + start + i - 1] = document.ids[i] ?? IGNORED_LABEL;
          trainedTokens++;
        }
      }
      place(base, start, length);
      start += length;
    }
    place(base, start, rowLength - start);
  }
  return { rowLength, ids, labels, positions, documentStart, trainedTokens };
}

/**
 * How a sum over tokens is cut. The blocks depend on the row length alone and do not cross rows, so that a micro-batch of 4 rows
 * and 4 micro-batches of 1 row add the same partial sums in the same order. Short rows are joined: there the promise is not made.
 * `native/` cuts by the same rule.
 */

export interface TokenBlock {
  /** First token, counted over all rows. */
  readonly start: number;
  /** One past the last token. */
  readonly end: number;
}

/** A block has at most this many tokens. */
export const BLOCK_TOKENS = 384;

/** Rows shorter than this are joined. */
export const JOINED_BELOW = 128;

/** The blocks of `rows` rows of `length` tokens, in the order in which their partial sums are added. */
export function tokenBlocks(rows: number, length: number): readonly TokenBlock[] {
  const stretch = length >= JOINED_BELOW ? length : rows * length;
  const size = evenBlock(stretch);
  const blocks: TokenBlock[] = [];
  for (let row = 0; row < rows * length; row += stretch) {
    for (let start = 0; start < stretch; start += size) blocks.push({ start: row + start, end: row + Math.min(stretch, start + size) });
  }
  return blocks;
}

/** The size of the blocks that `count` elements are cut into: nearly even, a multiple of 8, at most BLOCK_TOKENS. */
export function evenBlock(count: number): number {
  const blocks = Math.ceil(count / BLOCK_TOKENS);
  return Math.ceil(Math.ceil(count / blocks) / 8) * 8;
}

/** Tokens as text, cut where learned and unlearned tokens meet: what `inspect data` colours. */

import type { Tokenizer } from './tokenizer.ts';

export interface TextPiece {
  readonly text: string;
  /** Whether these tokens are learned. */
  readonly trained: boolean;
}

/** Joined, the pieces are the text of all tokens, special tokens included. A character that spans a border counts to the later piece. */
export function textPieces(tokenizer: Tokenizer, ids: ArrayLike<number>, trained: ArrayLike<number>): readonly TextPiece[] {
  const pieces: TextPiece[] = [];
  const utf8 = new TextDecoder();
  for (let start = 0; start < ids.length; ) {
    let end = start + 1;
    while (end < ids.length && trained[end] === trained[start]) end++;
    const run = Array.from({ length: end - start }, (_, i) => ids[start + i] ?? 0);
    const bytes = run.map((id) => tokenizer.tokenBytes(id));
    const text = bytes.every((part) => part !== undefined)
      ? utf8.decode(Buffer.concat(bytes), { stream: end < ids.length })
      : tokenizer.decode(run);
    pieces.push({ text, trained: trained[start] === 1 });
    start = end;
  }
  return pieces;
}

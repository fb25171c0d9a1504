/** Documents as text with what is learned marked, for `fulltune inspect data`. */

import { textPieces } from './text-pieces.ts';
import type { TextPiece } from './text-pieces.ts';
import type { TokenFile } from './token-file.ts';
import { openTokenizer } from './tokenizer.ts';

export interface InspectedRow {
  /** Index in the training file. */
  readonly document: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  readonly ids: Int32Array;
  readonly trained: Uint8Array;
  readonly pieces: readonly TextPiece[];
}

/** The first `rows` training documents, from `first` on. */
export function inspectRows(
  prepared: { readonly train: TokenFile; readonly modelDirectory: string }, { rows, first = 0 }: { readonly rows: number; readonly first?: number },
): readonly InspectedRow[] {
  const { train, modelDirectory } = prepared;
  const tokenizer = openTokenizer(modelDirectory);
  const count = Math.max(0, Math.min(rows, train.documents - first));
  return Array.from({ length: count }, (_, i) => {
    const { ids, trained } = train.read(first + i);
    return {
      document: first + i, tokens: ids.length, trainedTokens: train.trainedCounts[first + i] ?? 0, ids, trained,
      pieces: textPieces(tokenizer, ids, trained),
    };
  });
}

/**
 * Long texts are tokenised in pieces: some tokenizers treat a whole text as one word, which costs hundreds of bytes per character. A piece
 * ends where tokens end in any case, at a newline between two words, so that the result is the same as in one go.
 */

import type { TokenReading } from './token-bytes.ts';

/** Characters from which a text is cut, and the least length of a piece. */
export const LONG_TEXT_CHARACTERS = 32_768;

export function encodeLong(
  text: string, addSpecialTokens: boolean, reading: TokenReading, encodeWhole: (text: string, addSpecialTokens: boolean) => number[],
): number[] {
  if (text.length <= LONG_TEXT_CHARACTERS || reading === 'none') return encodeWhole(text, addSpecialTokens);
  // What the post-processor puts around any text: known from the encoding of a short one.
  const cuts = reading === 'byte-level' ? cutsAfterNewline(text) : cutsBeforeNewline(text);
  const separator = reading === 'sentencepiece' ? prefixToken(encodeWhole) : undefined;
  if (reading === 'sentencepiece' && separator === undefined) return encodeWhole(text, addSpecialTokens);

  const ids: number[] = [];
  let start = 0;
  for (const end of [...cuts, text.length]) {
    const piece = encodeWhole(text.slice(start, end), false);
    // SentencePiece-like tokenizers put a space before every text; before a newline it is a token of its own, and it goes.
    const skip = start > 0 && separator !== undefined && piece[0] === separator ? 1 : 0;
    for (let i = skip; i < piece.length; i++) ids.push(piece[i] ?? 0);
    start = end;
  }
  if (!addSpecialTokens) return ids;
  const probeText = text.slice(0, 64);
  const bare = encodeWhole(probeText, false);
  const wrapped = encodeWhole(probeText, true);
  const lead = leadOf(wrapped, bare);
  return [...wrapped.slice(0, lead), ...ids, ...wrapped.slice(lead + bare.length)];
}

/** How many ids stand before `bare` in `wrapped`. */
function leadOf(wrapped: readonly number[], bare: readonly number[]): number {
  for (let lead = 0; lead + bare.length <= wrapped.length; lead++) {
    if (bare.every((id, i) => wrapped[lead + i] === id)) return lead;
  }
  return 0;
}

/** The id of the space that the tokenizer puts before a text that begins with a newline; NaN when it puts none; undefined when unclear. */
function prefixToken(encodeWhole: (text: string, addSpecialTokens: boolean) => number[]): number | undefined {
  const newline = encodeWhole('\n', false);
  if (newline.length === 1) return Number.NaN;
  const inside = encodeWhole('a\n', false);
  if (newline.length !== 2 || inside.at(-1) !== newline[1]) return undefined;
  return inside.at(-2) === newline[0] ? undefined : newline[0];
}

function cutsAfterNewline(text: string): number[] {
  return cuts(text, /\n(?=[A-Za-z])/g, 1);
}

function cutsBeforeNewline(text: string): number[] {
  return cuts(text, /[A-Za-z.,;!?](?=\n)/g, 1);
}

function cuts(text: string, place: RegExp, width: number): number[] {
  const found: number[] = [];
  let position = LONG_TEXT_CHARACTERS;
  while (position < text.length) {
    place.lastIndex = position;
    const match = place.exec(text);
    if (match === null) break;
    found.push(match.index + width);
    position = match.index + width + LONG_TEXT_CHARACTERS;
  }
  return found;
}

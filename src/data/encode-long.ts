/**
 * Long texts are tokenised in pieces: some tokenizers treat a whole text as one word, which costs hundreds of bytes per character. A piece
 * ends where tokens end in any case, at a newline between two words, so that the result is the same as in one go.
 */

import type { TokenReading } from './token-bytes.ts';

/** Texts of more characters than this are cut; a piece has at least as many. */
export const LONG_TEXT_CHARACTERS = 32_768;

export function encodeLong(
  text: string, addSpecialTokens: boolean, reading: TokenReading, encodeWhole: (text: string, addSpecialTokens: boolean) => number[],
  longFrom: number = LONG_TEXT_CHARACTERS,
): number[] {
  if (text.length <= longFrom || reading === 'none') return encodeWhole(text, addSpecialTokens);
  // Byte-level vocabularies split after a single newline before a letter (several newlines can be one token at the end of a text).
  // SentencePiece-like ones put a space before a text; before a newline it stays a token of its own, and is taken away below.
  const cuts = cutsOf(text, reading === 'byte-level' ? /(?<=\S)\n(?=[A-Za-z])/g : /[A-Za-z.,;!?](?=\n)/g, longFrom);
  const separator = reading === 'sentencepiece' ? prefixToken(encodeWhole) : undefined;
  if (reading === 'sentencepiece' && separator === undefined) return encodeWhole(text, addSpecialTokens);

  const ids: number[] = [];
  let start = 0;
  for (const end of [...cuts, text.length]) {
    const piece = encodeWhole(text.slice(start, end), false);
    const skip = start > 0 && separator !== undefined && piece[0] === separator ? 1 : 0;
    for (let i = skip; i < piece.length; i++) ids.push(piece[i] ?? 0);
    start = end;
  }
  if (!addSpecialTokens) return ids;
  // What the post-processor puts around any text is known from the encoding of a short one.
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

/** Positions after one-character matches of `place`, at least `apart` characters from each other. */
function cutsOf(text: string, place: RegExp, apart: number): number[] {
  const found: number[] = [];
  place.lastIndex = apart;
  for (let match = place.exec(text); match !== null; match = place.exec(text)) {
    found.push(match.index + 1);
    place.lastIndex = match.index + 1 + apart;
  }
  return found;
}

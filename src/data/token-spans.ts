/**
 * Which tokens hold characters of given spans of the text they come from. The tokenizer gives no offsets, so they are recovered by walking
 * text and token bytes side by side; where the tokenizer's normaliser changed the text beyond what the walk understands, the borders are
 * found by encoding the text before and after each border.
 */

import type { Span } from './chat-template.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * One byte per token: 1 where the token holds at least one character of a span. Tokens that stand for no character of the text (a BOS from
 * the post-processor) hold none.
 */
export function tokensOfSpans(
  tokenizer: Tokenizer, text: string, ids: readonly number[], spans: readonly Span[], options: { readonly addSpecialTokens: boolean },
): Uint8Array {
  const offsets = byteOffsets(tokenizer, text, ids);
  if (offsets !== undefined) return markByOffsets(offsets, spans.map((span) => inBytes(text, span)));
  const normalised = text.normalize('NFC');
  if (normalised !== text) {
    const offsetsNfc = byteOffsets(tokenizer, normalised, ids);
    if (offsetsNfc !== undefined) return markByOffsets(offsetsNfc, spans.map((span) => inBytes(text, span, 'NFC')));
  }
  return markByEncoding(tokenizer, text, ids, spans, options);
}

interface ByteRange {
  readonly start: number;
  readonly end: number;
}

function inBytes(text: string, { start, end }: Span, form?: 'NFC'): ByteRange {
  const bytes = (part: string): number => Buffer.byteLength(form === undefined ? part : part.normalize(form));
  const before = bytes(text.slice(0, start));
  return { start: before, end: before + bytes(text.slice(start, end)) };
}

/** [start, end) in UTF-8 bytes for every token, flattened; undefined when text and tokens do not agree. */
function byteOffsets(tokenizer: Tokenizer, text: string, ids: readonly number[]): Uint32Array | undefined {
  const bytes = Buffer.from(text, 'utf8');
  const offsets = new Uint32Array(2 * ids.length);
  let position = 0;
  for (let t = 0; t < ids.length; t++) {
    const id = ids[t] ?? 0;
    const token = tokenizer.tokenBytes(id);
    if (token === undefined) return undefined;
    let start = position;
    let end: number | undefined;
    if (matches(bytes, position, token, 0)) {
      position += token.length;
    } else if (token[0] === SPACE && matches(bytes, position, token, 1)) {
      // A space that the tokenizer put before the text; alone, it goes with the character after it.
      position += token.length - 1;
      if (token.length === 1 && position < bytes.length) end = position + 1;
    } else if (tokenizer.isAdded(id)) {
      // Added tokens may swallow white space around them; those of the post-processor are not in the text at all.
      let next = position;
      while (next < bytes.length && isSpace(bytes[next])) next++;
      if (next > position && matches(bytes, next, token, 0)) {
        start = next;
        position = next + token.length;
      }
    } else {
      let next = position;
      while (next < bytes.length && isSpace(bytes[next])) next++;
      if (t === 0 || !tokenizer.isAdded(ids[t - 1] ?? 0) || !matches(bytes, next, token, 0)) return undefined;
      start = next;
      position = next + token.length;
    }
    offsets[2 * t] = start;
    offsets[2 * t + 1] = end ?? position;
  }
  return position === bytes.length ? offsets : undefined;
}

const SPACE = 0x20;

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}

function matches(bytes: Uint8Array, position: number, token: Uint8Array, from: number): boolean {
  if (position + token.length - from > bytes.length) return false;
  for (let i = from; i < token.length; i++) if (bytes[position + i - from] !== token[i]) return false;
  return true;
}

function markByOffsets(offsets: Uint32Array, spans: readonly ByteRange[]): Uint8Array {
  const marked = new Uint8Array(offsets.length / 2);
  let t = 0;
  for (const { start, end } of spans) {
    while (t < marked.length && (offsets[2 * t + 1] ?? 0) <= start) t++;
    let first: number | undefined;
    for (let u = t; u < marked.length && (offsets[2 * u] ?? 0) < end; u++) {
      if ((offsets[2 * u + 1] ?? 0) <= (offsets[2 * u] ?? 0)) continue;
      // Tokens without text between two of the span are of the span.
      first ??= u;
      marked.fill(1, first, u + 1);
      first = u;
    }
  }
  return marked;
}

/** Tokens that the text before a border shares with the whole stand before it; likewise from the other end. What is between holds the border. */
function markByEncoding(
  tokenizer: Tokenizer, text: string, ids: readonly number[], spans: readonly Span[], options: { readonly addSpecialTokens: boolean },
): Uint8Array {
  const marked = new Uint8Array(ids.length);
  const before = (border: number): number => {
    const part = tokenizer.encode(text.slice(0, border), options);
    let shared = 0;
    while (shared < part.length && shared < ids.length && part[shared] === ids[shared]) shared++;
    return shared;
  };
  const after = (border: number): number => {
    const part = tokenizer.encode(text.slice(border), options);
    let shared = 0;
    while (shared < part.length && shared < ids.length && part[part.length - 1 - shared] === ids[ids.length - 1 - shared]) shared++;
    return ids.length - shared;
  };
  for (const { start, end } of spans) {
    if (end > start) marked.fill(1, Math.min(before(start), ids.length), Math.max(after(end), before(start)));
  }
  return marked;
}

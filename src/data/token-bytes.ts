/**
 * The UTF-8 bytes that each token of a tokenizer stands for, where the tokenizer has such a reading: byte-level vocabularies (GPT-2, Qwen,
 * Llama 3) and SentencePiece-like ones (Llama 2: `▁` is a space, `<0x0A>` a byte). Others (WordPiece) have none.
 */

export type TokenReading = 'byte-level' | 'sentencepiece' | 'none';

/** Which reading tokenizer.json's decoder implies. */
export function tokenReading(tokenizerJson: Readonly<Record<string, unknown>>): TokenReading {
  const kinds = decoderKinds(tokenizerJson['decoder']);
  if (kinds.has('ByteLevel')) return 'byte-level';
  if (kinds.has('ByteFallback') || kinds.has('Metaspace')) return 'sentencepiece';
  return 'none';
}

function decoderKinds(decoder: unknown, kinds: Set<string> = new Set()): Set<string> {
  if (typeof decoder !== 'object' || decoder === null) return kinds;
  const { type, decoders } = decoder as { type?: unknown; decoders?: unknown };
  if (typeof type === 'string') kinds.add(type);
  if (Array.isArray(decoders)) for (const inner of decoders) decoderKinds(inner, kinds);
  return kinds;
}

/** The bytes of one vocabulary entry; `added` tokens stand for their own text. Undefined when there is no such reading. */
export function bytesOfToken(token: string, added: boolean, reading: TokenReading): Uint8Array | undefined {
  if (added) return encoder.encode(token);
  switch (reading) {
    case 'byte-level': {
      const bytes = new Uint8Array(token.length);
      for (let i = 0; i < token.length; i++) {
        const byte = BYTE_OF_CHARACTER.get(token.charCodeAt(i));
        if (byte === undefined) return encoder.encode(token);
        bytes[i] = byte;
      }
      return bytes;
    }
    case 'sentencepiece': {
      const hex = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
      if (hex !== undefined) return Uint8Array.of(Number.parseInt(hex, 16));
      return encoder.encode(token.replaceAll('▁', ' '));
    }
    case 'none':
      return undefined;
    default:
      return reading satisfies never;
  }
}

const encoder = new TextEncoder();

/** GPT-2's printable stand-ins for bytes, inverted. (Radford et al. 2019, encoder.py) */
const BYTE_OF_CHARACTER: ReadonlyMap<number, number> = (() => {
  const map = new Map<number, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    map.set(printable ? byte : next++, byte);
  }
  return map;
})();

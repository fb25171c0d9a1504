/** Makes tokenizer.json: byte-level BPE (any text can be written), merges learned from the base texts by the plain greedy rule. */

/**
 * @param {readonly string[]} texts
 * @param {{ vocabularySize: number }} options
 * @returns {object} the content of tokenizer.json. `<s>` is 0 and opens every text, `</s>` is 1.
 */
export function makeTokenizer(texts, { vocabularySize }) {
  const bytes = byteLetters();
  const vocabulary = ['<s>', '</s>', ...bytes];
  const counts = new Map();
  for (const text of texts) {
    for (const [piece] of text.matchAll(PIECES)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  }
  const pieces = [...counts].map(([piece, count]) => ({ count, symbols: [...Buffer.from(piece)].map((byte) => bytes[byte]) }));
  const merges = [];
  while (vocabulary.length < vocabularySize) {
    const pair = commonestPair(pieces);
    if (pair === undefined) break;
    merges.push(pair);
    vocabulary.push(pair.join(''));
    for (const piece of pieces) piece.symbols = merge(piece.symbols, pair);
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: ['<s>', '</s>'].map((content, id) => (
      { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '<s>', type_id: 1 } }, { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false,
      byte_fallback: false, ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges,
    },
  };
}

/** GPT-2's splitting of a text before merges. */
const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Ties go to the pair that comes first in the alphabet, so that the result depends on the texts only. */
function commonestPair(pieces) {
  const counts = new Map();
  for (const { symbols, count } of pieces) {
    for (let index = 0; index + 1 < symbols.length; index++) {
      const key = `${symbols[index]} ${symbols[index + 1]}`;
      counts.set(key, (counts.get(key) ?? 0) + count);
    }
  }
  let best;
  for (const [key, count] of counts) {
    if (best === undefined || count > best.count || (count === best.count && key < best.key)) best = { key, count };
  }
  return best?.key.split(' ');
}

function merge(symbols, [left, right]) {
  const result = [];
  for (let index = 0; index < symbols.length; index++) {
    if (symbols[index] === left && symbols[index + 1] === right) {
      result.push(left + right);
      index++;
    } else {
      result.push(symbols[index]);
    }
  }
  return result;
}

/** The printable letter that stands for each byte, as in GPT-2: printable bytes for themselves, the others from U+0100 on. */
function byteLetters() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

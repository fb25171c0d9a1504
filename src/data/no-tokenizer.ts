/**
 * Stands in for the tokenizer of a model folder that has none: token ids can be trained and evaluated without one. Text cannot: whatever
 * would need the vocabulary fails with E_FILE, and ids are shown as numbers.
 */

import { FulltuneError } from '../base/errors.ts';
import { DecodeStream } from './decode-stream.ts';
import type { Tokenizer } from './tokenizer-interface.ts';

export function noTokenizer(modelDirectory: string, ids: { readonly bosId: number | undefined; readonly eosId: number | undefined }): Tokenizer {
  const fail = (): never => {
    throw new FulltuneError('E_FILE', 'the model folder has no tokenizer.json', {
      where: modelDirectory,
      remedy: 'Save it in the fast format: AutoTokenizer.from_pretrained(…).save_pretrained(…) in transformers writes tokenizer.json. Rows of input_ids need none.',
    });
  };
  const decode = (list: ArrayLike<number>): string => Array.from(list, (id) => ` ${id}`).join('');
  return {
    encode: fail,
    encodeChat: fail,
    decode,
    decodeStream: () => new DecodeStream(decode),
    tokenBytes: () => undefined,
    idOf: () => undefined,
    isAdded: () => false,
    reading: 'none',
    ...ids,
    specialTokens: {},
    chatTemplate: undefined,
    endOfTurnIds: [],
    size: 0,
  };
}

/**
 * From a row to tokens and what is learned of them. The rules:
 *
 *  1. `text` is tokenised with the tokenizer's own special tokens (BOS where its post-processor puts one) and ends with EOS. Every token
 *     but the first is learned, EOS included.
 *  2. `prompt`/`completion` strings are joined without anything between them and tokenised in one go, as in 1, and end with EOS. Learned:
 *     the completion's tokens and EOS. Alpaca rows are the same with the standard Alpaca prompt as prompt.
 *  3. Conversations are rendered by the chat template and tokenised in one go without further special tokens: the ids are those of
 *     transformers' `apply_chat_template(tokenize=True)`. Learned: every assistant turn, its content and its end-of-turn token, not the line
 *     break after it. Nothing is appended: the template ends the conversation.
 *  4. `input_ids` are taken as they are. Learned: where `labels` is not -100, or everything without `labels`.
 *  5. A token that holds characters of both sides of a border is learned.
 *  6. At most one BOS begins a document: further ones, from a text or template that brings its own, are dropped.
 *  7. EOS is not added where the text already ends with it, nor after a document that is cut.
 *  8. The first token of a document is never learned: nothing precedes it. `train_on_inputs`: all others are.
 *  9. EOS is tokenizer_config.json's `eos_token`, else the `eos_token_id` of config.json, else of generation_config.json. Without any, none is added.
 */

import { FulltuneError } from '../base/errors.ts';
import { renderChat } from './chat-template.ts';
import type { ChatTemplate, Span } from './chat-template.ts';
import type { SourceDocument, TokenDocument } from './source-document.ts';
import { tokensOfSpans } from './token-spans.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface TokenisedDocument {
  readonly ids: readonly number[];
  /** One byte per token: 1 where the token is learned. */
  readonly trained: Uint8Array;
  /** Last learned tokens of assistant turns that are single added tokens, such as `<|im_end|>`. */
  readonly endsOfTurn: readonly number[];
}

export interface TokeniseContext {
  readonly tokenizer: Tokenizer;
  /** Undefined when the model has none and none was chosen. */
  readonly template: ChatTemplate | undefined;
  readonly trainOnInputs: boolean;
}

/** Errors: E_TEMPLATE, E_DATA, with `where` (file:line). */
export function tokenise(document: SourceDocument, { tokenizer, template, trainOnInputs }: TokeniseContext, where: string): TokenisedDocument {
  switch (document.kind) {
    case 'text': {
      const ids = withEos(withOneBos(tokenizer.encode(document.text, { addSpecialTokens: true }), tokenizer), tokenizer);
      return { ids, trained: allButFirst(ids.length), endsOfTurn: [] };
    }
    case 'completion': {
      const text = document.prompt + document.completion;
      const encoded = tokenizer.encode(text, { addSpecialTokens: true });
      const spans: readonly Span[] = [{ start: document.prompt.length, end: text.length }];
      const learned = tokensOfSpans(tokenizer, text, encoded, spans, { addSpecialTokens: true });
      const dropped = extraBos(encoded, tokenizer);
      const ids = withEos(encoded.slice(dropped), tokenizer);
      const trained = trainOnInputs ? allButFirst(ids.length) : new Uint8Array(ids.length);
      if (!trainOnInputs) {
        trained.set(learned.subarray(dropped));
        if (tokenizer.eosId !== undefined && ids.at(-1) === tokenizer.eosId) trained[ids.length - 1] = 1;
        if (ids.length > 0) trained[0] = 0;
      }
      return { ids, trained, endsOfTurn: [] };
    }
    case 'chat': {
      if (template === undefined) throw noTemplate(where);
      const { text, spans } = renderChat(template, document, where);
      const encoded = tokenizer.encode(text, { addSpecialTokens: false });
      const learned = tokensOfSpans(tokenizer, text, encoded, spans, { addSpecialTokens: false });
      const dropped = extraBos(encoded, tokenizer);
      const ids = encoded.slice(dropped);
      const assistant = learned.subarray(dropped);
      if (assistant.length > 0) assistant[0] = 0;
      return { ids, trained: trainOnInputs ? allButFirst(ids.length) : assistant, endsOfTurn: endsOfTurn(ids, assistant, tokenizer) };
    }
    case 'tokens':
      return { ids: document.ids, trained: trainedByLabels(document, trainOnInputs, where), endsOfTurn: [] };
    default:
      return document satisfies never;
  }
}

export function noTemplate(where: string): FulltuneError {
  return new FulltuneError('E_TEMPLATE', 'the data are conversations and the model has no chat template', {
    where,
    remedy: 'Choose one: --chat-template chatml, or --chat-template FILE with a Jinja template.',
  });
}

function allButFirst(length: number): Uint8Array {
  const trained = new Uint8Array(length).fill(1);
  if (length > 0) trained[0] = 0;
  return trained;
}

/** How many leading BOS are one too many. */
function extraBos(ids: readonly number[], { bosId }: Tokenizer): number {
  let leading = 0;
  while (leading < ids.length && ids[leading] === bosId) leading++;
  return Math.max(0, leading - 1);
}

function withOneBos(ids: readonly number[], tokenizer: Tokenizer): readonly number[] {
  return ids.slice(extraBos(ids, tokenizer));
}

function withEos(ids: readonly number[], { eosId }: Tokenizer): readonly number[] {
  return eosId === undefined || (ids.length > 1 && ids.at(-1) === eosId) ? ids : [...ids, eosId];
}

function endsOfTurn(ids: readonly number[], trained: Uint8Array, tokenizer: Tokenizer): readonly number[] {
  const ends: number[] = [];
  for (let t = 0; t < ids.length; t++) {
    const id = ids[t];
    if (id !== undefined && trained[t] === 1 && trained[t + 1] !== 1 && tokenizer.isAdded(id) && !ends.includes(id)) ends.push(id);
  }
  return ends;
}

function trainedByLabels({ ids, labels }: TokenDocument, trainOnInputs: boolean, where: string): Uint8Array {
  if (labels === undefined) return allButFirst(ids.length);
  if (trainOnInputs) {
    throw new FulltuneError('E_CONFIG', 'train_on_inputs and a labels column contradict each other', {
      where, remedy: 'Leave out train_on_inputs, or the labels.',
    });
  }
  const trained = new Uint8Array(ids.length);
  labels.forEach((label, t) => {
    if (label === -100) return;
    if (label !== ids[t]) {
      throw new FulltuneError('E_DATA', `label ${label} at position ${t} is neither -100 nor the token there (${ids[t]})`, {
        where, remedy: "Labels are aligned with input_ids, as transformers expects them; the shift by one happens in training.",
      });
    }
    if (t > 0) trained[t] = 1;
  });
  return trained;
}

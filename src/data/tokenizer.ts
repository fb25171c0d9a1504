/**
 * A model folder's tokenizer: tokenizer.json by @huggingface/tokenizers, tokenizer_config.json for the names of special tokens and the chat
 * template. Loading a large vocabulary takes a second and some 100 MB: the trainer leaves it to the child process of `prepareData`.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { FulltuneError } from '../base/errors.ts';
import { openChatTemplate, renderChat } from './chat-template.ts';
import type { ChatTemplate } from './chat-template.ts';
import { DecodeStream } from './decode-stream.ts';
import { encodeLong } from './encode-long.ts';
import { noTokenizer } from './no-tokenizer.ts';
import type { Tokenizer } from './tokenizer-interface.ts';
import type { ChatMessage } from './source-document.ts';
import { bytesOfToken, tokenReading } from './token-bytes.ts';

export type { ChatMessage } from './source-document.ts';
export type { Tokenizer } from './tokenizer-interface.ts';

type Json = Readonly<Record<string, unknown>>;

/** Errors: E_FILE when tokenizer.json cannot be used. Without one, ids can be used and text cannot. */
export function openTokenizer(modelDirectory: string): Tokenizer {
  const tokenizerPath = join(modelDirectory, 'tokenizer.json');
  if (!existsSync(tokenizerPath)) {
    const id = (name: 'bos' | 'eos'): number | undefined => specialId(name, {}, () => undefined, modelDirectory);
    return noTokenizer(modelDirectory, { bosId: id('bos'), eosId: id('eos') });
  }
  const tokenizerJson = readJson(tokenizerPath);
  const config = readOptionalJson(join(modelDirectory, 'tokenizer_config.json'));
  let tokenizer: HuggingFaceTokenizer;
  try {
    tokenizer = new HuggingFaceTokenizer(tokenizerJson, config);
  } catch (cause) {
    throw new FulltuneError('E_FILE', `this tokenizer cannot be used: ${messageOf(cause)}`, { where: tokenizerPath, cause });
  }

  const specialTokens = readSpecialTokens(modelDirectory, config);
  const reading = tokenReading(tokenizerJson);
  const added = tokenizer.get_added_tokens_decoder();
  const cleanUp = config['clean_up_tokenization_spaces'] === true;
  const idOf = (token: string): number | undefined => tokenizer.token_to_id(token);
  const bytes = new Map<number, Uint8Array | undefined>();
  const size = vocabularySize(tokenizer, added.keys());

  const encodeWhole = (text: string, addSpecialTokens: boolean): number[] => {
    const { ids } = tokenizer.encode(text, { add_special_tokens: addSpecialTokens });
    if (ids.some((id: number | undefined) => id === undefined)) {
      throw new FulltuneError('E_DATA', 'the tokenizer has no token for a part of the text and no unknown token', { where: tokenizerPath });
    }
    return ids;
  };
  const decode = (ids: ArrayLike<number>, skipSpecialTokens: boolean): string => {
    const list = Array.from(ids).filter((id) => tokenizer.id_to_token(id) !== undefined);
    return list.length === 0 ? '' : tokenizer.decode(list, { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: cleanUp });
  };

  const encode = (text: string, addSpecialTokens: boolean): number[] => encodeLong(text, addSpecialTokens, reading, encodeWhole);
  const chatTemplate = readChatTemplate(modelDirectory, config);
  let opened: ChatTemplate | undefined;
  const template = (): ChatTemplate => {
    if (chatTemplate === undefined) {
      throw new FulltuneError('E_TEMPLATE', 'the model has no chat template', { where: modelDirectory, remedy: 'Give the prompt as plain text.' });
    }
    return (opened ??= openChatTemplate(chatTemplate, specialTokens));
  };

  return {
    encode: (text, { addSpecialTokens }) => encode(text, addSpecialTokens),
    encodeChat: (messages, { tools } = {}) => encode(renderPrompt(template(), messages, tools, modelDirectory), false),
    decode: (ids, options = {}) => decode(ids, options.skipSpecialTokens ?? false),
    decodeStream: () => new DecodeStream((ids) => decode(ids, true)),
    tokenBytes: (id) => {
      if (!bytes.has(id)) {
        const token = tokenizer.id_to_token(id);
        bytes.set(id, token === undefined ? undefined : bytesOfToken(token, added.has(id), reading));
      }
      return bytes.get(id);
    },
    idOf,
    isAdded: (id) => added.has(id),
    reading,
    bosId: specialId('bos', specialTokens, idOf, modelDirectory),
    eosId: specialId('eos', specialTokens, idOf, modelDirectory),
    specialTokens,
    chatTemplate,
    get endOfTurnIds() {
      return chatTemplate === undefined ? [] : endOfTurn(template(), (text) => encode(text, false), (id) => added.has(id));
    },
    size,
  };
}

function renderPrompt(template: ChatTemplate, messages: readonly ChatMessage[], tools: readonly unknown[] | undefined, where: string): string {
  try {
    return template.render(messages, { tools, addGenerationPrompt: true });
  } catch (cause) {
    throw new FulltuneError('E_TEMPLATE', `the chat template refuses this conversation: ${messageOf(cause)}`, { where, cause });
  }
}

/** What ends the answer of a short conversation; nothing for a template that does not take it. */
function endOfTurn(template: ChatTemplate, encode: (text: string) => number[], isAdded: (id: number) => boolean): readonly number[] {
  const messages = [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }];
  let learned: string;
  try {
    const { text, spans } = renderChat(template, { kind: 'chat', messages, trained: [false, true], tools: undefined }, 'chat_template');
    learned = text.slice(0, spans[0]?.end);
  } catch (error) {
    if (error instanceof FulltuneError) return [];
    throw error;
  }
  const last = encode(learned).at(-1);
  return last !== undefined && isAdded(last) ? [last] : [];
}

function vocabularySize(tokenizer: HuggingFaceTokenizer, addedIds: Iterable<number>): number {
  let size = 0;
  for (const id of tokenizer.get_vocab().values()) size = Math.max(size, id + 1);
  for (const id of addedIds) size = Math.max(size, id + 1);
  return size;
}

/** tokenizer_config.json, then special_tokens_map.json; a token is a string or an object with `content`. */
function readSpecialTokens(modelDirectory: string, config: Json): Readonly<Record<string, string>> {
  const map = readOptionalJson(join(modelDirectory, 'special_tokens_map.json'));
  const found: Record<string, string> = {};
  for (const name of ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token']) {
    const value = tokenText(config[name]) ?? tokenText(map[name]);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && value !== null && 'content' in value && typeof value.content === 'string') return value.content;
  return undefined;
}

/** By tokenizer_config.json's token, else by config.json's and generation_config.json's id (the first of several). */
function specialId(
  name: 'bos' | 'eos', specialTokens: Readonly<Record<string, string>>, idOf: (token: string) => number | undefined, modelDirectory: string,
): number | undefined {
  const token = specialTokens[`${name}_token`];
  const id = token === undefined ? undefined : idOf(token);
  if (id !== undefined) return id;
  for (const file of ['config.json', 'generation_config.json']) {
    const value = readOptionalJson(join(modelDirectory, file))[`${name}_token_id`];
    const first: unknown = Array.isArray(value) ? value[0] : value;
    if (typeof first === 'number' && Number.isInteger(first) && first >= 0) return first;
  }
  return undefined;
}

/** chat_template.jinja beside the tokenizer wins over tokenizer_config.json's `chat_template` (a string, or a list of named ones). */
function readChatTemplate(modelDirectory: string, config: Json): string | undefined {
  const file = join(modelDirectory, 'chat_template.jinja');
  if (existsSync(file)) return readFileSync(file, 'utf8');
  const value = config['chat_template'];
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) {
    const named = value as readonly { readonly name?: unknown; readonly template?: unknown }[];
    const chosen = named.find((entry) => entry.name === 'default') ?? named[0];
    if (typeof chosen?.template === 'string') return chosen.template;
  }
  return undefined;
}

function readOptionalJson(path: string): Json {
  return existsSync(path) ? readJson(path) : {};
}

function readJson(path: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new FulltuneError('E_FILE', `not valid JSON: ${messageOf(cause)}`, { where: path, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FulltuneError('E_FILE', 'a JSON object is expected here', { where: path });
  }
  return value as Json;
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/**
 * Chat templates: Jinja, rendered by @huggingface/jinja with the variables that transformers' `apply_chat_template` gives. A template has no
 * marks for what the assistant says, so the spans to learn are found by rendering prefixes of the conversation:
 *
 *   everything up to turn i, with the header that invites the assistant's answer, must be how the text up to turn i + 1 begins;
 *   that in turn must be how the whole text begins.
 *
 * What lies between the two is the assistant's: the content and the end-of-turn token, but not the line break that some templates put
 * after it. This is what `{% generation %}` marks in the templates that have it. A template that rewrites earlier turns has no such
 * prefixes and is refused.
 */

import { existsSync, readFileSync } from 'node:fs';
import { Template } from '@huggingface/jinja';
import { FulltuneError } from '../base/errors.ts';
import type { ChatDocument, ChatMessage } from './source-document.ts';

export interface Span {
  /** Character positions (UTF-16 units) in the rendered text. */
  readonly start: number;
  readonly end: number;
}

export interface RenderOptions {
  readonly tools?: readonly unknown[] | undefined;
  readonly addGenerationPrompt?: boolean;
}

export interface ChatTemplate {
  readonly text: string;
  /** Throws the template's own error. */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

/** What a tokenizer tells about its special tokens. */
export interface TokenNames {
  idOf(token: string): number | undefined;
  readonly specialTokens: Readonly<Record<string, string>>;
}

/**
 * ChatML, as TRL's `setup_chat_format` writes it. A tokenizer that has no `<|im_end|>` token ends turns with its own EOS instead, so that a
 * turn always ends with one token at which generation can stop.
 */
export function chatmlTemplate(tokenizer: TokenNames): string {
  const eos = tokenizer.specialTokens['eos_token'];
  const endOfTurn = tokenizer.idOf('<|im_end|>') === undefined && eos !== undefined ? eos : '<|im_end|>';
  return "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + " + JSON.stringify(endOfTurn) +
    " + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
}

/** `chatml`, or a file with a Jinja template. Errors: E_TEMPLATE. */
export function chosenTemplate(setting: string, tokenizer: TokenNames): string {
  if (setting === 'chatml') return chatmlTemplate(tokenizer);
  if (!existsSync(setting)) {
    throw new FulltuneError('E_TEMPLATE', `'${setting}' is neither 'chatml' nor a file`, {
      where: 'chat_template', remedy: 'Use --chat-template chatml, or the path of a Jinja template.',
    });
  }
  return readFileSync(setting, 'utf8');
}

/** Errors: E_TEMPLATE when the text is not a template. */
export function openChatTemplate(text: string, specialTokens: Readonly<Record<string, string>>): ChatTemplate {
  let template: Template;
  try {
    template = new Template(text);
  } catch (cause) {
    throw new FulltuneError('E_TEMPLATE', `the chat template cannot be read: ${messageOf(cause)}`, { where: 'chat_template', cause });
  }
  return {
    text,
    render: (messages, { tools, addGenerationPrompt = false } = {}) =>
      template.render({ ...specialTokens, messages, tools: tools ?? null, documents: null, add_generation_prompt: addGenerationPrompt }),
  };
}

/** A conversation as text, and the spans to learn. Errors: E_TEMPLATE naming row and turn. */
export function renderChat(
  template: ChatTemplate, document: ChatDocument, where: string,
): { readonly text: string; readonly spans: readonly Span[] } {
  const { messages, trained, tools } = document;
  const render = (count: number, addGenerationPrompt: boolean): string => {
    try {
      return template.render(messages.slice(0, count), { tools, addGenerationPrompt });
    } catch (cause) {
      throw new FulltuneError('E_TEMPLATE', `the chat template refuses this conversation: ${messageOf(cause)}`, { where, cause });
    }
  };
  const text = render(messages.length, false);
  const spans: Span[] = [];
  trained.forEach((learned, turn) => {
    if (!learned) return;
    const after = turn + 1 === messages.length ? text : render(turn + 1, false);
    if (!text.startsWith(after)) throw rewritten(where, turn, 'the text of the turns up to it changes when later turns follow');
    const before = turn === 0 ? headerOfFirstTurn(template, document, where) : render(turn, true);
    if (!after.startsWith(before)) throw rewritten(where, turn, 'the text before its answer is not what generation would start from');
    spans.push({ start: before.length, end: endOfTurn(after, before.length, messages[turn]?.content) });
  });
  return { text, spans };
}

/** Templates do not take an empty conversation; what precedes the content of a first assistant turn is found with a marker in its place. */
function headerOfFirstTurn(template: ChatTemplate, { messages, tools }: ChatDocument, where: string): string {
  const marker = '\u0001fulltune\u0001';
  const first = { ...messages[0], role: messages[0]?.role ?? 'assistant', content: marker };
  let text: string;
  try {
    text = template.render([first], { tools });
  } catch (cause) {
    throw new FulltuneError('E_TEMPLATE', `the chat template refuses this conversation: ${messageOf(cause)}`, { where, cause });
  }
  const position = text.indexOf(marker);
  if (position < 0) throw rewritten(where, 0, 'its content does not appear in the text');
  return text.slice(0, position);
}

/** Where the learned part of a turn ends: after the end-of-turn token; a trailing line break counts only if nothing else ends the turn. */
function endOfTurn(after: string, start: number, content: string | undefined): number {
  const body = content?.trim() ?? '';
  const found = body === '' ? -1 : after.lastIndexOf(body);
  const contentEnd = found < start ? start : found + body.length;
  const trimmed = Math.max(after.trimEnd().length, start);
  return trimmed > contentEnd ? trimmed : after.length;
}

function rewritten(where: string, turn: number, what: string): FulltuneError {
  return new FulltuneError('E_TEMPLATE', `the chat template rewrites the conversation at turn ${turn + 1}: ${what}`, {
    where,
    remedy: 'Training on it would teach something else than generation sees. Use --chat-template chatml, or a template file that writes ' +
      'every turn the same way, or split the row so that this turn is the last.',
  });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

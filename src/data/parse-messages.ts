/** Conversations in the two forms that datasets have: `messages` (role, content) and ShareGPT's `conversations` (from, value). */

import { FulltuneError, nearest } from '../base/errors.ts';
import type { ChatDocument, ChatMessage } from './source-document.ts';

type Turns = Pick<ChatDocument, 'messages' | 'trained'>;
type Entry = Readonly<Record<string, unknown>>;

const ROLES: readonly string[] = ['system', 'developer', 'user', 'assistant', 'tool', 'ipython'];

const ROLE_OF_SENDER: Readonly<Record<string, string>> = {
  human: 'user', user: 'user',
  gpt: 'assistant', assistant: 'assistant', chatgpt: 'assistant', bing: 'assistant', bard: 'assistant', model: 'assistant',
  function_call: 'assistant',
  system: 'system',
  tool: 'tool', observation: 'tool', function_response: 'tool',
};

/** [{role, content, …}]. A turn's `weight` (0 or 1, as in OpenAI's files) says whether an assistant turn is learned. Errors: E_DATA. */
export function parseMessages(value: unknown, column: string, where: string): Turns {
  const entries = entriesOf(value, column, where);
  if (entries.every((entry) => entry['from'] !== undefined && entry['role'] === undefined)) return parseConversation(value, undefined, where);
  const messages: ChatMessage[] = [];
  const trained: boolean[] = [];
  entries.forEach((entry, turn) => {
    const role = entry['role'];
    if (typeof role !== 'string') throw wrong(`turn ${turn + 1} of ${column} has no role`, where, 'A turn is {"role": …, "content": …}.');
    if (!ROLES.includes(role)) {
      const near = nearest(role, ROLES);
      const hint = near === undefined ? '' : ` Did you mean '${near}'?`;
      throw wrong(`turn ${turn + 1} of ${column} has the role '${role}'`, where, `Roles are ${ROLES.join(', ')}.${hint}`);
    }
    const content = contentOf(entry['content'], role, entry, turn, where);
    // Templates test for missing keys, not for null (as transformers does since 5.0).
    const rest = Object.fromEntries(Object.entries(entry).filter(([key, v]) => v !== null && key !== 'content' && key !== 'weight'));
    messages.push({ ...rest, role, ...(content === undefined ? {} : { content }) });
    trained.push(role === 'assistant' && isLearned(entry['weight'], turn, where));
  });
  return { messages, trained };
}

/** [{from, value}], with an optional system text before it. Errors: E_DATA. */
export function parseConversation(value: unknown, system: unknown, where: string): Turns {
  const entries = entriesOf(value, 'conversations', where);
  if (entries.every((entry) => entry['role'] !== undefined && entry['from'] === undefined)) return parseMessages(value, 'conversations', where);
  const messages: ChatMessage[] = typeof system === 'string' && system !== '' ? [{ role: 'system', content: system }] : [];
  entries.forEach((entry, turn) => {
    const { from, value: text } = entry;
    const role = typeof from === 'string' && Object.hasOwn(ROLE_OF_SENDER, from) ? ROLE_OF_SENDER[from] : undefined;
    if (role === undefined) {
      const sender = from === undefined ? 'nobody' : JSON.stringify(from);
      throw wrong(`turn ${turn + 1} of conversations is from ${sender}`, where, `Known are ${Object.keys(ROLE_OF_SENDER).join(', ')}.`);
    }
    if (typeof text !== 'string') {
      throw wrong(`turn ${turn + 1} of conversations has no text in 'value'`, where, 'A turn is {"from": …, "value": …}.');
    }
    messages.push(from === 'function_call' ? functionCall(text, turn, where) : { role, content: text });
  });
  return { messages, trained: messages.map((message) => message.role === 'assistant') };
}

/** A list of JSON schemas, or such a list as a string. Errors: E_DATA. */
export function parseTools(value: unknown, where: string): readonly unknown[] | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  const tools = typeof value === 'string' ? json(value, "the column 'tools'", where) : value;
  if (!Array.isArray(tools)) throw wrong("the column 'tools' is not a list", where, 'It is a list of JSON schemas, or such a list as a string.');
  return tools.length === 0 ? undefined : tools;
}

function functionCall(text: string, turn: number, where: string): ChatMessage {
  const call = json(text, `the function call in turn ${turn + 1}`, where);
  return { role: 'assistant', tool_calls: (Array.isArray(call) ? call : [call]).map((one: unknown) => ({ type: 'function', function: one })) };
}

function contentOf(content: unknown, role: string, entry: Entry, turn: number, where: string): string | undefined {
  if (typeof content === 'string') return content;
  if (content === undefined || content === null) {
    if (role === 'assistant' && entry['tool_calls'] !== undefined && entry['tool_calls'] !== null) return undefined;
    throw wrong(`turn ${turn + 1} has no content`, where, 'A turn is {"role": …, "content": …}.');
  }
  if (Array.isArray(content)) return content.map((part: unknown) => textOfPart(part, turn, where)).join('');
  throw wrong(`the content of turn ${turn + 1} is neither a string nor a list of parts`, where, 'Parts are [{"type": "text", "text": …}].');
}

function textOfPart(part: unknown, turn: number, where: string): string {
  const { type, text } = (typeof part === 'object' && part !== null ? part : {}) as Entry;
  if (type === 'text' && typeof text === 'string') return text;
  const what = `the content of turn ${turn + 1} has a part of type ${JSON.stringify(type)}`;
  throw wrong(what, where, 'Only text can be trained on: {"type": "text", "text": …}.');
}

function isLearned(weight: unknown, turn: number, where: string): boolean {
  if (weight === undefined || weight === null || weight === 1) return true;
  if (weight === 0) return false;
  throw wrong(`turn ${turn + 1} has the weight ${JSON.stringify(weight)}`, where, 'A weight is 0 (not learned) or 1 (learned).');
}

function entriesOf(value: unknown, column: string, where: string): readonly Entry[] {
  if (!Array.isArray(value)) throw wrong(`${column} is not a list of turns`, where, 'It is a list like [{"role": "user", "content": …}, …].');
  if (value.length === 0) throw wrong(`${column} is empty`, where, 'A conversation has at least one turn.');
  const list: readonly unknown[] = value;
  list.forEach((entry, turn) => {
    if (typeof entry === 'object' && entry !== null && !Array.isArray(entry)) return;
    throw wrong(`turn ${turn + 1} of ${column} is not an object`, where, 'A turn is {"role": …, "content": …}.');
  });
  return list as readonly Entry[];
}

function json(text: string, what: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FulltuneError('E_DATA', `${what} is not JSON`, { where, cause });
  }
}

function wrong(message: string, where: string, remedy: string): FulltuneError {
  return new FulltuneError('E_DATA', message, { where, remedy });
}

/**
 * Column layouts of a dataset, recognised by the names of the columns:
 *
 *   input_ids (+ labels)                    token ids, as transformers takes them
 *   messages                                [{role, content}], content a string or parts [{type: 'text', text}]
 *   conversations (+ system, tools)         ShareGPT: [{from: human | gpt | system | …, value}]
 *   prompt, completion                      two strings, or two lists of messages (as in TRL)
 *   instruction, output (+ input)           Alpaca; `response` is read as `output`, `context` as `input` (Dolly)
 *   text                                    learned as a whole
 *
 * The first layout whose columns are there is taken; all rows of a file have the same one.
 */

import { FulltuneError } from '../base/errors.ts';
import { parseConversation, parseMessages, parseTools } from './parse-messages.ts';
import type { ChatDocument, SourceDocument } from './source-document.ts';

export type Layout = 'input_ids' | 'messages' | 'conversations' | 'prompt/completion' | 'instruction/output' | 'text';

type Columns = Readonly<Record<string, unknown>>;

/** In the order in which they are tried. */
const LAYOUTS: readonly { readonly layout: Layout; readonly needs: readonly (readonly string[])[] }[] = [
  { layout: 'input_ids', needs: [['input_ids']] },
  { layout: 'messages', needs: [['messages']] },
  { layout: 'conversations', needs: [['conversations']] },
  { layout: 'prompt/completion', needs: [['prompt'], ['completion']] },
  { layout: 'instruction/output', needs: [['instruction'], ['output', 'response']] },
  { layout: 'text', needs: [['text']] },
];

export const ACCEPTED_COLUMNS =
  'messages | conversations | prompt + completion | instruction (+ input) + output | text | input_ids (+ labels)';

/** Errors: E_DATA naming the columns found and those accepted. */
export function layoutOf(row: unknown, where: string): Layout {
  const columns = columnsOf(row, where);
  const found = LAYOUTS.find(({ needs }) => needs.every((names) => names.some((name) => columns[name] !== undefined)));
  if (found === undefined) {
    throw new FulltuneError('E_DATA', `these columns are no layout that can be read: ${Object.keys(columns).join(', ') || 'none'}`, {
      where,
      remedy: `Accepted are: ${ACCEPTED_COLUMNS}. Rename the columns; for questions and answers, write prompt (with the line break or ` +
        'space that shall stand before the answer) and completion.',
    });
  }
  return found.layout;
}

/** Columns of each layout that are read. `labels`, `tools`, `system`, `input` and `context` may be missing. */
const READ: Readonly<Record<Layout, readonly string[]>> = {
  'input_ids': ['input_ids', 'labels'],
  'messages': ['messages', 'tools'],
  'conversations': ['conversations', 'system', 'tools'],
  'prompt/completion': ['prompt', 'completion', 'tools'],
  'instruction/output': ['instruction', 'output', 'response', 'input', 'context'],
  'text': ['text'],
};

/** Columns of a row that its layout does not read. */
export function unusedColumns(row: unknown, layout: Layout): readonly string[] {
  return typeof row === 'object' && row !== null ? Object.keys(row).filter((name) => !READ[layout].includes(name)) : [];
}

/** Errors: E_DATA with what is wrong in this row. `trainOnInputs`: conversations without an assistant turn are fine. */
export function parseRow(row: unknown, layout: Layout, options: { readonly trainOnInputs: boolean }, where: string): SourceDocument {
  const columns = columnsOf(row, where);
  const actual = layoutOf(row, where);
  if (actual !== layout) {
    throw new FulltuneError('E_DATA', `this row has the columns of '${actual}', the rows before it those of '${layout}'`, {
      where, remedy: 'All rows of a file have the same columns: split it into one file per kind, or bring the rows into one form.',
    });
  }
  switch (layout) {
    case 'input_ids':
      return parseTokens(columns, where);
    case 'messages':
      return chat(parseMessages(columns['messages'], 'messages', where), columns, options.trainOnInputs, where);
    case 'conversations':
      return chat(parseConversation(columns['conversations'], columns['system'], where), columns, options.trainOnInputs, where);
    case 'prompt/completion':
      return parseCompletion(columns, options.trainOnInputs, where);
    case 'instruction/output':
      return {
        kind: 'completion',
        prompt: alpacaPrompt(stringOf(columns, ['instruction'], where), optionalString(columns, ['input', 'context'], where)),
        completion: stringOf(columns, ['output', 'response'], where),
      };
    case 'text':
      return { kind: 'text', text: stringOf(columns, ['text'], where) };
    default:
      return layout satisfies never;
  }
}

/** The prompt of Stanford Alpaca (Taori et al. 2023), with its shorter form where the input is empty. */
export function alpacaPrompt(instruction: string, input: string): string {
  const withInput = input.trim() !== '';
  const context = withInput ? ', paired with an input that provides further context' : '';
  return `Below is an instruction that describes a task${context}. Write a response that appropriately completes the request.\n\n` +
    `### Instruction:\n${instruction}\n\n${withInput ? `### Input:\n${input}\n\n` : ''}### Response:\n`;
}

type Turns = Pick<ChatDocument, 'messages' | 'trained'>;

function chat({ messages, trained }: Turns, columns: Columns, trainOnInputs: boolean, where: string): ChatDocument {
  if (!trainOnInputs && !messages.some((message) => message.role === 'assistant')) {
    throw new FulltuneError('E_DATA', `this conversation has no assistant turn, only ${[...new Set(messages.map((m) => m.role))].join(', ')}`, {
      where, remedy: 'Loss is on what the assistant says. Add its turns, or use --train-on-inputs.',
    });
  }
  return { kind: 'chat', messages, trained, tools: parseTools(columns['tools'], where) };
}

function parseCompletion(columns: Columns, trainOnInputs: boolean, where: string): SourceDocument {
  const { prompt, completion } = columns;
  if (Array.isArray(prompt) && Array.isArray(completion)) {
    const before = parseMessages(prompt, 'prompt', where);
    const after = parseMessages(completion, 'completion', where);
    return chat({
      messages: [...before.messages, ...after.messages],
      trained: [...before.trained.map(() => false), ...after.trained],
    }, columns, trainOnInputs, where);
  }
  if (typeof prompt === 'string' && typeof completion === 'string') return { kind: 'completion', prompt, completion };
  throw new FulltuneError('E_DATA', `prompt is ${kindOf(prompt)} and completion is ${kindOf(completion)}`, {
    where, remedy: 'Both are strings, or both are lists of messages.',
  });
}

function parseTokens(columns: Columns, where: string): SourceDocument {
  const ids = integers(columns['input_ids'], 'input_ids', where);
  const labels = columns['labels'] === undefined || columns['labels'] === null ? undefined : integers(columns['labels'], 'labels', where);
  if (labels !== undefined && labels.length !== ids.length) {
    throw new FulltuneError('E_DATA', `labels has ${labels.length} entries and input_ids ${ids.length}`, {
      where, remedy: 'There is one label per token, -100 where nothing is learned; the shift by one happens in training.',
    });
  }
  return { kind: 'tokens', ids, labels };
}

function integers(value: unknown, column: string, where: string): readonly number[] {
  if (!Array.isArray(value)) throw new FulltuneError('E_DATA', `${column} is ${kindOf(value)}, not a list of integers`, { where, remedy: 'Mend the row, or take it out.' });
  const list: readonly unknown[] = value;
  const wrong = list.findIndex((entry) => !Number.isInteger(entry));
  if (wrong >= 0) {
    throw new FulltuneError('E_DATA', `${column}[${wrong}] is ${JSON.stringify(list[wrong])}, not an integer`, { where, remedy: 'Token ids and labels are whole numbers.' });
  }
  return list as readonly number[];
}

function stringOf(columns: Columns, names: readonly string[], where: string): string {
  const name = names.find((candidate) => columns[candidate] !== undefined) ?? names[0] ?? '';
  const value = columns[name];
  if (typeof value === 'string') return value;
  throw new FulltuneError('E_DATA', `${name} is ${kindOf(value)}, not a string`, { where, remedy: 'Mend the row, or take it out.' });
}

function optionalString(columns: Columns, names: readonly string[], where: string): string {
  const present = names.filter((name) => columns[name] !== undefined && columns[name] !== null);
  return present.length === 0 ? '' : stringOf(columns, present, where);
}

function columnsOf(row: unknown, where: string): Columns {
  if (typeof row === 'object' && row !== null && !Array.isArray(row)) return row as Columns;
  throw new FulltuneError('E_DATA', `a row is an object with named columns, this one is ${kindOf(row)}`, { where, remedy: `Accepted are: ${ACCEPTED_COLUMNS}.` });
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

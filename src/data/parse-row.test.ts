import { describe, expect, it } from 'vitest';
import { layoutOf, parseRow, unusedColumns } from './parse-row.ts';
import type { SourceDocument } from './source-document.ts';

const where = 'data.jsonl:9';
const parse = (row: unknown, trainOnInputs = false): SourceDocument => parseRow(row, layoutOf(row, where), { trainOnInputs }, where);
const refused = (row: unknown, text: string): void => {
  expect(() => parse(row)).toThrowError(expect.objectContaining({ code: 'E_DATA', where, message: expect.stringContaining(text) as unknown }) as Error);
};
const user = { role: 'user', content: 'u' };
const assistant = { role: 'assistant', content: 'a' };

describe('parseRow', () => {
  it('reads text', () => {
    expect(parse({ text: 'x', id: 7 })).toEqual({ kind: 'text', text: 'x' });
    refused({ text: 5 }, 'text is a number');
  });

  it('reads messages with strings or parts, and passes on what else a turn has', () => {
    expect(parse({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }, { ...assistant, reasoning_content: 'r', name: null }] })).toEqual({
      kind: 'chat', messages: [{ role: 'user', content: 'ab' }, { role: 'assistant', content: 'a', reasoning_content: 'r' }], trained: [false, true], tools: undefined,
    });
  });

  it('reads weights of turns as OpenAI writes them', () => {
    expect(parse({ messages: [user, { ...assistant, weight: 0 }, user, { ...assistant, weight: 1 }] })).toMatchObject({ trained: [false, false, false, true] });
    refused({ messages: [user, { ...assistant, weight: 0.5 }] }, 'weight 0.5');
  });

  it('reads tools as a list or as a string', () => {
    expect(parse({ messages: [user, assistant], tools: [{ name: 't' }] })).toMatchObject({ tools: [{ name: 't' }] });
    expect(parse({ messages: [user, assistant], tools: '[{"name":"t"}]' })).toMatchObject({ tools: [{ name: 't' }] });
    expect(parse({ messages: [user, assistant], tools: '' })).toMatchObject({ tools: undefined });
    refused({ messages: [user, assistant], tools: 'nonsense' }, 'tools');
  });

  it('takes an assistant turn without content when it calls tools', () => {
    const call = { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: {} } }] };
    expect(parse({ messages: [user, call] })).toMatchObject({ messages: [user, { role: 'assistant', tool_calls: call.tool_calls }] });
    refused({ messages: [user, { role: 'assistant', content: null }] }, 'turn 2 has no content');
  });

  it('refuses conversations that cannot be learned', () => {
    refused({ messages: [] }, 'empty');
    refused({ messages: 'hi' }, 'not a list');
    refused({ messages: ['hi'] }, 'turn 1');
    refused({ messages: [user] }, 'no assistant turn');
    refused({ messages: [user, { role: 'asistant', content: 'a' }] }, "role 'asistant'");
    refused({ messages: [user, { content: 'a' }] }, 'no role');
    refused({ messages: [user, { role: 'assistant', content: 5 }] }, 'turn 2');
    refused({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: 'x' }] }, assistant] }, 'image_url');
    expect(parse({ messages: [user] }, true)).toMatchObject({ kind: 'chat' });
  });

  it('reads ShareGPT, with its system text, tools and function calls', () => {
    expect(parse({
      conversations: [{ from: 'human', value: 'h' }, { from: 'function_call', value: '{"name":"f","arguments":{"x":1}}' }, { from: 'observation', value: 'o' }, { from: 'gpt', value: 'g' }],
      system: 's', tools: '[{"name":"f"}]',
    })).toEqual({
      kind: 'chat',
      messages: [
        { role: 'system', content: 's' }, { role: 'user', content: 'h' },
        { role: 'assistant', tool_calls: [{ type: 'function', function: { name: 'f', arguments: { x: 1 } } }] },
        { role: 'tool', content: 'o' }, { role: 'assistant', content: 'g' },
      ],
      trained: [false, false, true, false, true], tools: [{ name: 'f' }],
    });
    refused({ conversations: [{ from: 'alien', value: 'x' }] }, 'alien');
    refused({ conversations: [{ from: 'gpt' }] }, 'no text');
  });

  it('takes either form of turns under either name', () => {
    expect(parse({ conversations: [user, assistant] })).toMatchObject({ messages: [user, assistant] });
    expect(parse({ messages: [{ from: 'human', value: 'u' }, { from: 'gpt', value: 'a' }] })).toMatchObject({ messages: [user, assistant] });
  });

  it('reads prompt and completion as strings or as turns', () => {
    expect(parse({ prompt: 'p', completion: 'c' })).toEqual({ kind: 'completion', prompt: 'p', completion: 'c' });
    expect(parse({ prompt: [user, assistant, user], completion: [assistant] })).toMatchObject({ kind: 'chat', trained: [false, false, false, true] });
    refused({ prompt: 'p', completion: [assistant] }, 'prompt is a string and completion is a list');
  });

  it('reads Alpaca and Dolly rows', () => {
    expect(parse({ instruction: 'i', input: '', output: 'o', text: 'all' })).toEqual({
      kind: 'completion', completion: 'o',
      prompt: 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\ni\n\n### Response:\n',
    });
    expect(parse({ instruction: 'i', context: 'x', response: 'o', category: 'c' })).toMatchObject({ prompt: expect.stringContaining('### Input:\nx\n\n### Response:\n') as unknown, completion: 'o' });
    expect(parse({ instruction: 'i', input: null, output: 'o' })).toMatchObject({ completion: 'o' });
    refused({ instruction: 'i', output: 3 }, 'output is a number');
  });

  it('reads token ids and labels', () => {
    expect(parse({ input_ids: [1, 2], labels: [-100, 2] })).toEqual({ kind: 'tokens', ids: [1, 2], labels: [-100, 2] });
    expect(parse({ input_ids: [1, 2], labels: null })).toMatchObject({ labels: undefined });
    refused({ input_ids: [1, 2.5] }, 'input_ids[1] is 2.5');
    refused({ input_ids: '1 2' }, 'input_ids is a string');
    refused({ input_ids: [1, 2], labels: [1] }, 'labels has 1 entries and input_ids 2');
    refused({ input_ids: [1, 2], labels: [1, 'x'] }, 'labels[1]');
  });

  it('names the columns found and those accepted', () => {
    expect(() => parse({ question: 'q', answer: 'a' })).toThrowError(
      expect.objectContaining({ code: 'E_DATA', message: expect.stringContaining('question, answer') as unknown, remedy: expect.stringContaining('prompt + completion') as unknown }) as Error,
    );
    refused({ prompt: 'p' }, 'prompt');
    refused([1], 'a list');
    refused('text', 'a string');
  });

  it('knows which columns are not read', () => {
    expect(unusedColumns({ instruction: 'i', context: 'c', response: 'r', category: 'qa' }, 'instruction/output')).toEqual(['category']);
    expect(unusedColumns({ system: 's', prompt: 'p', completion: 'c' }, 'prompt/completion')).toEqual(['system']);
    expect(unusedColumns({ messages: [], tools: [], text: 't', id: 1 }, 'messages')).toEqual(['text', 'id']);
    expect(unusedColumns({ text: 't' }, 'text')).toEqual([]);
  });

  it('refuses a row of another layout than the rows before it', () => {
    expect(() => parseRow({ text: 'x' }, 'messages', { trainOnInputs: false }, where)).toThrowError(
      expect.objectContaining({ code: 'E_DATA', where, message: expect.stringContaining("'text'") as unknown }) as Error,
    );
  });
});

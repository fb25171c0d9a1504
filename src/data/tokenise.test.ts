import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sharedPath } from '../testing/shared.ts';
import { chatmlTemplate, openChatTemplate } from './chat-template.ts';
import { alpacaPrompt } from './parse-row.ts';
import type { SourceDocument } from './source-document.ts';
import { textPieces } from './text-pieces.ts';
import { tokensOfSpans } from './token-spans.ts';
import { tokenise } from './tokenise.ts';
import type { TokenisedDocument } from './tokenise.ts';
import { openTokenizer } from './tokenizer.ts';
import type { Tokenizer } from './tokenizer.ts';

const gpt2 = openTokenizer(sharedPath('models/gpt2-tokenizer'));
const qwen2 = openTokenizer(sharedPath('models/qwen2-tokenizer'));
const stories = openTokenizer(sharedPath('models/stories260K'));

function run(tokenizer: Tokenizer, document: SourceDocument, options: { readonly trainOnInputs?: boolean; readonly template?: string } = {}): TokenisedDocument {
  const text = options.template ?? tokenizer.chatTemplate;
  return tokenise(document, {
    tokenizer, template: text === undefined ? undefined : openChatTemplate(text, tokenizer.specialTokens), trainOnInputs: options.trainOnInputs ?? false,
  }, 'data.jsonl:3');
}

/** Learned tokens in [[ ]]. */
function marked(tokenizer: Tokenizer, { ids, trained }: TokenisedDocument): string {
  return textPieces(tokenizer, ids, trained).map((piece) => (piece.trained ? `[[${piece.text}]]` : piece.text)).join('');
}

describe('text', () => {
  it('begins with the BOS of the tokenizer and ends with EOS; all but the first token is learned', () => {
    const { ids, trained } = run(stories, { kind: 'text', text: 'Once upon' });
    expect(ids).toEqual([1, ...stories.encode('Once upon', { addSpecialTokens: false }), 2]);
    expect([...trained]).toEqual(ids.map((_, t) => (t === 0 ? 0 : 1)));
  });

  it('adds neither a second BOS nor a second EOS', () => {
    const { ids } = run(stories, { kind: 'text', text: '<s>Once upon</s>' });
    expect(ids.filter((id) => id === 1)).toHaveLength(1);
    expect(ids.filter((id) => id === 2)).toHaveLength(1);
    expect(marked(gpt2, run(gpt2, { kind: 'text', text: 'Hello world<|endoftext|>' }))).toBe('Hello[[ world<|endoftext|>]]');
  });

  it('has no BOS where the tokenizer puts none', () => {
    expect(run(gpt2, { kind: 'text', text: 'Hello world' }).ids).toEqual([15496, 995, 50256]);
    expect(run(qwen2, { kind: 'text', text: 'Hello world' }).ids).toEqual([9707, 1879, 151645]);
  });
});

describe('prompt and completion', () => {
  it('learns the completion and EOS', () => {
    const document = run(gpt2, { kind: 'completion', prompt: 'Q: one?\nA:', completion: ' two' });
    expect(marked(gpt2, document)).toBe('Q: one?\nA:[[ two<|endoftext|>]]');
    expect(document.ids).toEqual([...gpt2.encode('Q: one?\nA: two', { addSpecialTokens: true }), 50256]);
  });

  it('learns a token that holds characters of both', () => {
    const document = run(gpt2, { kind: 'completion', prompt: 'The ans', completion: 'wer is' });
    expect(marked(gpt2, document)).toBe('The[[ answer is<|endoftext|>]]');
  });

  it('works with a BOS, spaces before the text and bytes', () => {
    const document = run(stories, { kind: 'completion', prompt: 'One day, é', completion: 'ü she 🦙' });
    expect(marked(stories, document)).toBe('<s> One day, é[[ü she 🦙</s>]]');
    expect(document.ids[0]).toBe(1);
  });

  it('learns everything but the first token with train_on_inputs', () => {
    const document = run(gpt2, { kind: 'completion', prompt: 'Hello world', completion: ' two' }, { trainOnInputs: true });
    expect(marked(gpt2, document)).toBe('Hello[[ world two<|endoftext|>]]');
  });

  it('an empty prompt learns all but the first token', () => {
    expect(marked(gpt2, run(gpt2, { kind: 'completion', prompt: '', completion: 'Hello world' }))).toBe('Hello[[ world<|endoftext|>]]');
  });

  it('takes the Alpaca prompt', () => {
    const document = run(gpt2, { kind: 'completion', prompt: alpacaPrompt('Add.', '1 2'), completion: '3' });
    expect(marked(gpt2, document).endsWith('### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n[[3<|endoftext|>]]')).toBe(true);
    expect(alpacaPrompt('Add.', '')).not.toContain('Input');
  });
});

describe('conversations', () => {
  const messages = [
    { role: 'user', content: 'One?' }, { role: 'assistant', content: 'Two.' }, { role: 'user', content: 'And?' }, { role: 'assistant', content: 'Three.' },
  ];

  it('learns every assistant turn with its end-of-turn token', () => {
    const document = run(qwen2, { kind: 'chat', messages, trained: [false, true, false, true], tools: undefined });
    expect(marked(qwen2, document)).toBe(
      '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n' +
      '<|im_start|>assistant\n[[Two.<|im_end|>]]\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n[[Three.<|im_end|>]]\n',
    );
    expect(document.endsOfTurn).toEqual([151645]);
  });

  it('leaves out turns that are not to be learned', () => {
    const document = run(qwen2, { kind: 'chat', messages, trained: [false, false, false, true], tools: undefined });
    expect(marked(qwen2, document).match(/\[\[.*?\]\]/gs)).toEqual(['[[Three.<|im_end|>]]']);
  });

  it('learns a tool call', () => {
    const call = { role: 'assistant', tool_calls: [{ type: 'function', function: { name: 'sum', arguments: { a: 1 } } }] };
    const document = run(qwen2, { kind: 'chat', messages: [{ role: 'user', content: 'x' }, call, { role: 'tool', content: '1' }, { role: 'assistant', content: 'ok' }], trained: [false, true, false, true], tools: [{ name: 'sum' }] });
    expect(marked(qwen2, document).match(/\[\[.*?\]\]/gs)).toEqual([
      '[[<tool_call>\n{"name": "sum", "arguments": {"a": 1}}\n</tool_call><|im_end|>]]', '[[ok<|im_end|>]]',
    ]);
  });

  it('has one BOS when both template and tokenizer would put one', () => {
    const template = "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    const document = run(stories, { kind: 'chat', messages: messages.slice(0, 2), trained: [false, true], tools: undefined }, { template });
    expect(document.ids.filter((id) => id === 1)).toHaveLength(1);
    expect(document.endsOfTurn).toEqual([2]);
    const twice = run(stories, { kind: 'chat', messages: messages.slice(0, 2), trained: [false, true], tools: undefined }, { template: `{{ bos_token }}${template}` });
    expect(twice.ids).toEqual(document.ids);
    expect([...twice.trained]).toEqual([...document.trained]);
  });

  it('renders ChatML on a tokenizer without its tokens', () => {
    const document = run(gpt2, { kind: 'chat', messages: messages.slice(0, 2), trained: [false, true], tools: undefined }, { template: chatmlTemplate(gpt2) });
    expect(marked(gpt2, document)).toBe('<|im_start|>user\nOne?<|endoftext|>\n<|im_start|>assistant\n[[Two.<|endoftext|>]]\n');
    expect(document.endsOfTurn).toEqual([50256]);
  });

  it('needs a template', () => {
    expect(() => run(gpt2, { kind: 'chat', messages, trained: [false, true, false, true], tools: undefined })).toThrowError(
      expect.objectContaining({ code: 'E_TEMPLATE', where: 'data.jsonl:3', remedy: expect.stringContaining('--chat-template chatml') as unknown }) as Error,
    );
  });

  it('learns everything but the first token with train_on_inputs', () => {
    const document = run(qwen2, { kind: 'chat', messages, trained: [false, true, false, true], tools: undefined }, { trainOnInputs: true });
    expect([...document.trained]).toEqual(document.ids.map((_, t) => (t === 0 ? 0 : 1)));
  });
});

describe('token ids', () => {
  it('are taken as they are, learned where labels say so', () => {
    const document = run(gpt2, { kind: 'tokens', ids: [5, 6, 7, 8], labels: [5, -100, 7, 8] });
    expect(document.ids).toEqual([5, 6, 7, 8]);
    expect([...document.trained]).toEqual([0, 0, 1, 1]);
    expect([...run(gpt2, { kind: 'tokens', ids: [5, 6], labels: undefined }).trained]).toEqual([0, 1]);
  });

  it('refuses a label that is not the token, and labels with train_on_inputs', () => {
    expect(() => run(gpt2, { kind: 'tokens', ids: [5, 6, 7], labels: [6, 7, -100] })).toThrowError(
      expect.objectContaining({ code: 'E_DATA', where: 'data.jsonl:3', message: expect.stringContaining('position 0') as unknown }) as Error,
    );
    expect(() => run(gpt2, { kind: 'tokens', ids: [5], labels: [5] }, { trainOnInputs: true })).toThrowError(expect.objectContaining({ code: 'E_CONFIG' }) as Error);
  });
});

describe('tokensOfSpans', () => {
  const characters = fc.constantFrom('a', 'b', ' ', '\n', 'é', 'e\u0301', '東', '🦙', '1', '.', 'the ', '<|im_end|>', '</s>', '▁');

  it.each([['gpt2', gpt2], ['qwen2', qwen2], ['stories260K', stories]] as const)('marks just the tokens that hold characters of the span: %s', (_, tokenizer) => {
    fc.assert(
      fc.property(fc.array(characters, { maxLength: 12 }), fc.array(characters, { minLength: 1, maxLength: 12 }), fc.array(characters, { maxLength: 12 }), (a, b, c) => {
        const [before, inside, after] = [a.join(''), b.join(''), c.join('')];
        const text = before + inside + after;
        const ids = tokenizer.encode(text, { addSpecialTokens: true });
        const marks = tokensOfSpans(tokenizer, text, ids, [{ start: before.length, end: before.length + inside.length }], { addSpecialTokens: true });
        // Unmarked tokens before and after the span hold only what is before and after it.
        const first = marks.indexOf(1);
        const last = marks.lastIndexOf(1);
        fc.pre(inside.trim() !== '' && inside !== '▁');
        expect(first).toBeGreaterThanOrEqual(0);
        expect(marks.slice(first, last + 1).every((mark) => mark === 1)).toBe(true);
        const plain = (list: readonly number[]): string => tokenizer.decode(list, { skipSpecialTokens: false }).replaceAll('<s>', '').normalize('NFD').replaceAll(/[ ▁\ufffd]/g, '');
        const wanted = (text: string): string => text.normalize('NFD').replaceAll(/[ ▁]/g, '');
        expect(wanted(before).startsWith(plain(ids.slice(0, first)))).toBe(true);
        expect(wanted(after).endsWith(plain(ids.slice(last + 1)))).toBe(true);
        expect(plain(ids.slice(first, last + 1)).includes(wanted(inside).replaceAll('<s>', '').slice(1, -1))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('falls back to encoding the parts when token texts are not known', () => {
    const opaque: Tokenizer = { ...gpt2, endOfTurnIds: [], tokenBytes: () => undefined };
    const text = 'One two three four';
    const ids = gpt2.encode(text, { addSpecialTokens: true });
    expect([...tokensOfSpans(opaque, text, ids, [{ start: 3, end: 7 }], { addSpecialTokens: true })]).toEqual([0, 1, 0, 0]);
    expect([...tokensOfSpans(opaque, text, ids, [{ start: 5, end: 6 }, { start: 13, end: 18 }], { addSpecialTokens: true })]).toEqual([0, 1, 0, 1]);
  });
});

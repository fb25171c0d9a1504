import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { sharedPath } from '../testing/shared.ts';
import { chatmlTemplate, openChatTemplate, renderChat } from './chat-template.ts';
import type { ChatMessage } from './source-document.ts';
import { parseMessages } from './parse-messages.ts';
import { tokenise } from './tokenise.ts';
import { openTokenizer } from './tokenizer.ts';
import type { Tokenizer } from './tokenizer.ts';

interface Golden {
  readonly name: string;
  readonly tokenizer: string;
  readonly template: string;
  readonly messages: readonly Record<string, unknown>[];
  readonly tools: readonly unknown[] | null;
  readonly text: string;
  readonly prompt: string;
  readonly ids: readonly number[];
  readonly assistantMask: readonly number[] | null;
}

/** Written by tools/goldens/chat_template_goldens.py. */
const goldens = JSON.parse(readFileSync(new URL('../../test/goldens/chat_template.json', import.meta.url), 'utf8')) as {
  readonly templates: Readonly<Record<string, string>>;
  readonly cases: readonly Golden[];
};

const tokenizers = new Map<string, Tokenizer>();
beforeAll(() => {
  for (const name of new Set(goldens.cases.map((golden) => golden.tokenizer))) tokenizers.set(name, openTokenizer(sharedPath(`models/${name}`)));
});

function tokenizerOf(name: string): Tokenizer {
  const tokenizer = tokenizers.get(name);
  if (tokenizer === undefined) throw new Error(name);
  return tokenizer;
}

describe('chat templates against transformers', () => {
  it.each(goldens.cases.map((golden) => [golden.name, golden] as const))('%s', (_, golden) => {
    const tokenizer = tokenizerOf(golden.tokenizer);
    const templateText = golden.template === 'own' ? tokenizer.chatTemplate : golden.template === 'chatml' ? chatmlTemplate(tokenizer) : goldens.templates[golden.template];
    const template = openChatTemplate(templateText ?? '', tokenizer.specialTokens);
    const turns = parseMessages(golden.messages, 'messages', 'golden');
    const document = { kind: 'chat', ...turns, tools: golden.tools ?? undefined } as const;

    expect(renderChat(template, document, 'golden').text).toBe(golden.text);
    expect(template.render(turns.messages.slice(0, -1), { tools: document.tools, addGenerationPrompt: true })).toBe(golden.prompt);
    const tokenised = tokenise(document, { tokenizer, template, trainOnInputs: false }, 'golden');
    expect(tokenised.ids).toEqual(golden.ids);
    if (golden.assistantMask !== null) expect([...tokenised.trained]).toEqual(golden.assistantMask);
  });

  it('has cases with masks, tools, and all three templates', () => {
    expect(goldens.cases.filter((golden) => golden.assistantMask?.includes(1) === true).length).toBeGreaterThan(20);
    expect(goldens.cases.some((golden) => golden.tools !== null)).toBe(true);
    expect(new Set(goldens.cases.map((golden) => golden.template))).toEqual(new Set(['own', 'chatml', 'headers']));
  });
});

const CHATML = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

function spansOf(templateText: string, messages: readonly ChatMessage[], specialTokens: Record<string, string> = {}): readonly string[] {
  const template = openChatTemplate(templateText, specialTokens);
  const trained = messages.map((message) => message.role === 'assistant');
  const { text, spans } = renderChat(template, { kind: 'chat', messages, trained, tools: undefined }, 'data.jsonl:7');
  return spans.map(({ start, end }) => text.slice(start, end));
}

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

describe('renderChat', () => {
  it('learns content and end-of-turn token of every assistant turn, not the line break after it', () => {
    expect(spansOf(CHATML, [user('1'), assistant('one'), user('2'), assistant('two\n')])).toEqual(['one<|im_end|>', 'two\n<|im_end|>']);
  });

  it('learns nothing of the header when the assistant speaks first', () => {
    expect(spansOf(CHATML, [assistant('hello'), user('hi'), assistant('bye')])).toEqual(['hello<|im_end|>', 'bye<|im_end|>']);
  });

  it('takes the line break as the end of a turn when nothing else ends it', () => {
    const template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    expect(spansOf(template, [user('1'), assistant('one')])).toEqual(['one\n']);
  });

  it('learns an EOS that the template writes, in the manner of Llama 2', () => {
    const template = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}";
    expect(spansOf(template, [user('1'), assistant('one'), user('2'), assistant('two')], { bos_token: '<s>', eos_token: '</s>' })).toEqual([' one </s>', ' two </s>']);
  });

  it('refuses a template that drops parts of earlier turns, naming row and turn', () => {
    const template = "{% for m in messages %}{{ '<' + m.role + '>' }}{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}{{ '<end>' }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}";
    expect(spansOf(template, [user('1'), assistant('<think>x</think>one')])).toEqual(['<think>x</think>one<end>']);
    expect(() => spansOf(template, [user('1'), assistant('<think>x</think>one'), user('2'), assistant('two')])).toThrowError(
      expect.objectContaining({ code: 'E_TEMPLATE', where: 'data.jsonl:7', message: expect.stringContaining('turn 2') as unknown }) as Error,
    );
  });

  it('refuses a template whose generation prompt is not how an answer begins', () => {
    const template = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant><think>' }}{% endif %}";
    expect(() => spansOf(template, [user('1'), assistant('one')])).toThrowError(expect.objectContaining({ code: 'E_TEMPLATE' }) as Error);
  });

  it("passes on the template's own refusal with the row", () => {
    const template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ m.content }}{% endfor %}";
    expect(() => spansOf(template, [{ role: 'system', content: 's' }, user('1'), assistant('one')])).toThrowError(
      expect.objectContaining({ code: 'E_TEMPLATE', where: 'data.jsonl:7', message: expect.stringContaining('System role not supported') as unknown }) as Error,
    );
  });

  it('says so when the text is no template', () => {
    expect(() => openChatTemplate('{% for x in %}', {})).toThrowError(expect.objectContaining({ code: 'E_TEMPLATE' }) as Error);
  });
});

describe('chatmlTemplate', () => {
  it('ends turns with EOS where the tokenizer has no <|im_end|>', () => {
    const stories = tokenizerOf('stories260K');
    expect(spansOf(chatmlTemplate(stories), [user('1'), assistant('one')])).toEqual(['one</s>']);
    expect(spansOf(chatmlTemplate(tokenizerOf('qwen2-tokenizer')), [user('1'), assistant('one')])).toEqual(['one<|im_end|>']);
  });
});

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { sharedPath } from '../testing/shared.ts';
import { encodeLong, LONG_TEXT_CHARACTERS } from './encode-long.ts';
import { openTokenizer } from './tokenizer.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-tokenizer-'));
afterAll(() => { rmSync(folder, { recursive: true }); });

const gpt2 = openTokenizer(sharedPath('models/gpt2-tokenizer'));
const qwen2 = openTokenizer(sharedPath('models/qwen2-tokenizer'));
const stories = openTokenizer(sharedPath('models/stories260K'));

describe('openTokenizer', () => {
  it.each([['gpt2', gpt2], ['qwen2', qwen2]] as const)('agrees with the reference vectors of %s', (name, tokenizer) => {
    const cases = JSON.parse(readFileSync(sharedPath(`reference/tokenizer_cases_${name}.json`), 'utf8')) as readonly { text: string; ids: readonly number[] }[];
    expect(cases).toHaveLength(47);
    for (const { text, ids } of cases) {
      expect(tokenizer.encode(text, { addSpecialTokens: false }), JSON.stringify(text)).toEqual(ids);
      // Qwen2 normalises to NFC, GPT-2 not at all.
      expect(tokenizer.decode(ids)).toBe(name === 'qwen2' ? text.normalize('NFC') : text);
    }
  });

  it('knows special tokens', () => {
    expect([stories.bosId, stories.eosId, stories.size]).toEqual([1, 2, 512]);
    expect([qwen2.bosId, qwen2.eosId]).toEqual([undefined, qwen2.idOf('<|im_end|>')]);
    expect(qwen2.endOfTurnIds).toEqual([151645]);
    expect([gpt2.bosId, gpt2.eosId, gpt2.chatTemplate, gpt2.endOfTurnIds]).toEqual([50256, 50256, undefined, []]);
  });

  it("adds the tokenizer's own special tokens only when asked", () => {
    expect(stories.encode('Once', { addSpecialTokens: true })[0]).toBe(1);
    expect(stories.encode('Once', { addSpecialTokens: false })[0]).not.toBe(1);
  });

  it('renders a prompt up to the answer', () => {
    const ids = qwen2.encodeChat([{ role: 'system', content: 's' }, { role: 'user', content: 'hi' }]);
    expect(qwen2.decode(ids)).toBe('<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n');
    expect(() => gpt2.encodeChat([{ role: 'user', content: 'hi' }])).toThrowError(expect.objectContaining({ code: 'E_TEMPLATE' }) as Error);
  });

  it('hides special tokens when asked', () => {
    expect(qwen2.decode([13048, 151645], { skipSpecialTokens: true })).toBe('Hi');
    expect(qwen2.decode([])).toBe('');
    expect(qwen2.decode([13048, 999_999])).toBe('Hi');
  });

  it('falls back to config.json and generation_config.json for ids', () => {
    for (const name of ['tokenizer.json']) writeFileSync(join(folder, name), readFileSync(sharedPath(`models/stories260K/${name}`)));
    writeFileSync(join(folder, 'config.json'), '{"bos_token_id": 1}');
    writeFileSync(join(folder, 'generation_config.json'), '{"eos_token_id": [7, 2]}');
    const tokenizer = openTokenizer(folder);
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([1, 7]);
  });

  it('takes the template named default, and chat_template.jinja before it', () => {
    writeFileSync(join(folder, 'tokenizer.json'), readFileSync(sharedPath('models/stories260K/tokenizer.json')));
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: { content: '</s>' }, chat_template: [{ name: 'rag', template: 'r' }, { name: 'default', template: 'd' }] }));
    expect(openTokenizer(folder).chatTemplate).toBe('d');
    expect(openTokenizer(folder).eosId).toBe(2);
    writeFileSync(join(folder, 'chat_template.jinja'), 'j');
    expect(openTokenizer(folder).chatTemplate).toBe('j');
  });

  it('lets a folder without tokenizer.json use ids but no text, and refuses a broken one', () => {
    const empty = mkdtempSync(join(folder, 'empty-'));
    writeFileSync(join(empty, 'config.json'), '{"eos_token_id": [7, 8]}');
    const ids = openTokenizer(empty);
    expect(ids).toMatchObject({ bosId: undefined, eosId: 7, chatTemplate: undefined });
    expect(ids.decode([3, 4])).toBe(' 3 4');
    expect(() => ids.encode('text', { addSpecialTokens: true })).toThrowError(expect.objectContaining({ code: 'E_FILE' }) as Error);
    writeFileSync(join(empty, 'tokenizer.json'), '{"model":');
    expect(() => openTokenizer(empty)).toThrowError(expect.objectContaining({ code: 'E_FILE' }) as Error);
    writeFileSync(join(empty, 'tokenizer.json'), '{"model": {}}');
    expect(() => openTokenizer(empty)).toThrowError(expect.objectContaining({ code: 'E_FILE' }) as Error);
  });
});

describe('long texts', () => {
  const shakespeare = readFileSync(sharedPath('datasets/tinyshakespeare.txt'), 'utf8').slice(0, LONG_TEXT_CHARACTERS);

  it.each([['gpt2', gpt2], ['qwen2', qwen2], ['stories260K', stories]] as const)('give the same tokens in pieces as in one go: %s', (_, tokenizer) => {
    for (const addSpecialTokens of [true, false]) {
      const encodeWhole = (text: string, add: boolean): number[] => tokenizer.encode(text, { addSpecialTokens: add });
      const whole = encodeWhole(shakespeare, addSpecialTokens);
      for (const longFrom of [100, 1000]) {
        let calls = 0;
        const pieces = encodeLong(shakespeare, addSpecialTokens, tokenizer.reading, (text, add) => {
          calls++;
          return encodeWhole(text, add);
        }, longFrom);
        expect(calls).toBeGreaterThan(20);
        expect(pieces).toEqual(whole);
      }
    }
  });
});

describe('DecodeStream', () => {
  it.each([['gpt2', gpt2], ['qwen2', qwen2], ['stories260K', stories]] as const)('gives the text of %s piece by piece, never half a character', (_, tokenizer) => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', ' ', '\n', 'é', 'ü', '東', '🦙', '🗼', 'Ж', '½', '.'), minLength: 1, maxLength: 40 }), (text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        const stream = tokenizer.decodeStream();
        const pieces = ids.map((id) => stream.push(id));
        expect(pieces.join('')).not.toContain('\ufffd');
        expect(pieces.join('') + stream.end()).toBe(tokenizer.decode(ids, { skipSpecialTokens: true }));
      }),
      { numRuns: 60 },
    );
  });

  it('gives up on bytes that are no character', () => {
    const stream = stories.decodeStream();
    const bad = stories.idOf('<0xE2>') ?? 0;
    const good = stories.encode('Once', { addSpecialTokens: false });
    const text = [bad, bad, ...good].map((id) => stream.push(id)).join('') + stream.end();
    expect(text).toContain('\ufffd');
    expect(text).toContain('Once');
  });
});

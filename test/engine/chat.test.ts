/** A chat model from template to generation: what is trained, where answers end, and what the finished folder says of it. */

import { mkdtempSync, readFileSync, rmSync, existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { initModel, inspectData, loadModel, train } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const END_OF_TURN = 151_645; // <|im_end|> of Qwen2
const model = join(folder, 'qwen');
const dataset = join(folder, 'chat.jsonl');
const questions = ['What is red?', 'What is blue?'];
const answers = ['A colour like fire.', 'A colour like the sea.'];

beforeAll(async () => {
  // The real tokenizer and chat template of Qwen2, on a model small enough for a test.
  const like = mkdtempSync(join(folder, 'like-'));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) writeFileSync(join(like, name), readFileSync(sharedPath(`models/qwen2-tokenizer/${name}`)));
  writeFileSync(join(like, 'config.json'), JSON.stringify({
    architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
    num_key_value_heads: 1, vocab_size: 151_936, max_position_embeddings: 256, tie_word_embeddings: true, initializer_range: 0.1, torch_dtype: 'float32', eos_token_id: 151_643,
  }));
  await initModel({ directory: model, like });
  const row = (i: number): string => JSON.stringify({ messages: [{ role: 'user', content: questions[i] }, { role: 'assistant', content: answers[i] }] });
  writeFileSync(dataset, `${row(0)}\n${row(1)}\n`);
});

describe('a chat model', () => {
  it('is trained on the answers and their end-of-turn tokens alone', async () => {
    const { rows } = await inspectData({ model, dataset });
    expect(rows.map(({ pieces }) => pieces.filter(({ trained }) => trained).map(({ text }) => text).join('|'))).toEqual(answers.map((text) => `${text}<|im_end|>`));
  });

  it('ends its answers, because the finished folder knows the end-of-turn token', async () => {
    const run = await train({ model, dataset, output_dir: join(folder, 'run'), max_steps: 60, learning_rate: 1e-2, packing: false, threads: 2, save_steps: 60 }).result;
    expect(run.lastLoss!).toBeLessThan(0.1);
    const config = JSON.parse(readFileSync(join(run.modelPath!, 'generation_config.json'), 'utf8')) as { eos_token_id: number | number[] };
    expect([config.eos_token_id].flat()).toContain(END_OF_TURN);
    expect(existsSync(join(run.modelPath!, 'chat_template.jinja'))).toBe(false); // the model's own template stays where it was
    await using chat = await loadModel(run.modelPath!);
    for (const [index, question] of questions.entries()) {
      let answer = '';
      for await (const piece of chat.generate([{ role: 'user', content: question }], { maxNewTokens: 40, temperature: 0 })) answer += piece;
      expect(answer).toBe(answers[index]);
    }
  });

  it('keeps a chat template that was chosen with the model', async () => {
    const { modelPath } = await train({ model, dataset, output_dir: join(folder, 'chatml'), max_steps: 1, chat_template: 'chatml', threads: 2 }).result;
    expect(readFileSync(join(modelPath!, 'chat_template.jinja'), 'utf8')).toContain('<|im_start|>');
  });
});

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { sharedPath } from '../testing/shared.ts';
import { BatchSource } from './batches.ts';
import { inspectRows, prepareData } from './prepare.ts';
import type { PreparedData, PrepareOptions } from './prepare.ts';
import type { TextPiece } from './text-pieces.ts';
import type { TokenFile } from './token-file.ts';
import { tokeniseInChildren } from './tokenise-process.ts';
import type { TokeniseJob } from './tokenise-dataset.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-prepare-'));
afterAll(() => { rmSync(folder, { recursive: true }); });

const MODELS = {
  stories: { modelDirectory: sharedPath('models/stories260K'), vocabularySize: 512, modelMaxLength: 512 },
  gpt2: { modelDirectory: sharedPath('models/gpt2-tokenizer'), vocabularySize: 50257, modelMaxLength: 1024 },
  qwen2: { modelDirectory: sharedPath('models/qwen2-tokenizer'), vocabularySize: 151_936, modelMaxLength: 32_768 },
} as const;

let files = 0;
function write(content: string, ending = 'jsonl'): string {
  const path = join(folder, `data${files++}.${ending}`);
  writeFileSync(path, content);
  return path;
}

const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const head = (name: string, rows: number): string => write(readFileSync(sharedPath(`datasets/${name}`), 'utf8').split('\n').slice(0, rows).join('\n'));

async function prepare(model: keyof typeof MODELS, dataset: string, config: Partial<RunConfig> = {}, options: Partial<PrepareOptions> = {}): Promise<PreparedData> {
  return await prepareData({
    settings: resolveSettings({ model: 'model', dataset, ...config }), ...MODELS[model], workDirectory: join(folder, 'work'), inProcess: true, ...options,
  });
}

const marked = (pieces: readonly TextPiece[]): string => pieces.map(({ text, trained }) => (trained ? `[[${text}]]` : text)).join('');
const refusal = (code: string, parts: Record<string, unknown> = {}): Error => expect.objectContaining({ code, ...parts }) as Error;
const saying = (text: string): unknown => expect.stringContaining(text);

describe('columns that nothing reads', () => {
  it('are named, tools too where the template has no place for them', async () => {
    const row = (more: object): object => ({ messages: [{ role: 'user', content: 'hi' }, { role: 'assistant', content: 'yes' }], ...more });
    const dataset = write(lines([row({ id: 1 }), row({ tools: [{ name: 'f' }], note: 'x' })]));
    const data = await prepare('stories', dataset, { chat_template: 'chatml' });
    expect(data.notices.join('\n')).toContain('these columns are not used: id, note, tools');
    const withTools = await prepare('qwen2', dataset);
    expect(withTools.notices.join('\n')).toContain('these columns are not used: id, note');
    expect(withTools.notices.join('\n')).not.toContain('tools');
    for (const each of [data, withTools]) each.train.close();
  });
});

describe('real datasets', () => {
  it('gsm8k conversations by the Qwen2 template', async () => {
    const data = await prepare('qwen2', head('gsm8k_train_messages.jsonl', 200));
    expect(data.statistics).toMatchObject({ rows: 200, documents: 200, cut: 0, split: 0, untrained: 0 });
    expect(marked(data.example)).toBe(
      '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n' +
      'Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did Natalia sell altogether in April and May?<|im_end|>\n' +
      '<|im_start|>assistant\n[[Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72<|im_end|>]]\n',
    );
    expect(data.endOfTurnIds).toEqual([151_645]);
    expect(data.maxLength % 64).toBe(0);
    expect(data.maxLengthReason).toContain(`${data.statistics.longest} tokens`);
    const rows = inspectRows(data, { rows: 3, first: 1 });
    expect(rows.map((row) => row.document)).toEqual([1, 2, 3]);
    for (const row of rows) {
      expect(row.pieces.filter((piece) => piece.trained)).toHaveLength(1);
      expect(row.tokens).toBe(data.train.lengths[row.document]);
    }
    data.train.close();
  });

  it('wikisql text', async () => {
    const data = await prepare('gpt2', sharedPath('datasets/wikisql_valid.jsonl'));
    expect(data.statistics).toMatchObject({ rows: 100, documents: 100 });
    expect(data.statistics.trainedTokens).toBe(data.statistics.tokens - 100);
    for (let i = 0; i < 100; i++) expect(data.train.read(i).ids.at(-1)).toBe(50_256);
    data.train.close();
  });

  it('wwdc25 prompts and completions', async () => {
    const data = await prepare('gpt2', sharedPath('datasets/wwdc25_valid.jsonl'));
    expect(data.statistics.rows).toBe(144);
    expect(marked(data.example)).toBe('How many yards did Patrick Mahomes throw for?[[Patrick Mahomes threw for 257 yards in Super Bowl LIX.<|endoftext|>]]');
    expect(data.endOfTurnIds).toEqual([50_256]);
    data.train.close();
  });

  it('alpaca, dolly and ShareGPT files', async () => {
    const alpaca = await prepare('gpt2', sharedPath('datasets/alpaca_tiny.json'));
    expect(alpaca.statistics.rows).toBe(100);
    expect(marked(alpaca.example)).toContain('### Response:\n[[1.Eat a balanced diet');
    const dolly = await prepare('gpt2', sharedPath('datasets/dolly_fixture.json'));
    expect(dolly.statistics).toMatchObject({ rows: 12, cut: 1 });
    expect(dolly.notices.join('\n')).toContain('1 of 12 rows are cut to 1024 tokens');
    expect(dolly.notices.join('\n')).toContain('this column is not used: category');
    expect(alpaca.notices.join('\n')).toContain('this column is not used: text');
    const chat = await prepare('qwen2', sharedPath('datasets/chat_tiny.json'));
    expect(chat.example.filter((piece) => piece.trained).map((piece) => piece.text)).toEqual(['The meaning of life is 42.<|im_end|>', 'I agree.<|im_end|>']);
    for (const data of [alpaca, dolly, chat]) data.train.close();
  });

  it("OpenAI's toy conversations, one of which is too long", async () => {
    const data = await prepare('qwen2', sharedPath('datasets/openai_toy_chat_messages.jsonl'));
    expect(data.statistics).toMatchObject({ rows: 10, documents: 10, cut: 1, longest: 8032 });
    expect(data.maxLength).toBe(1024);
    data.train.close();
  });

  it('tinystories as JSON lines and as text are the same documents', async () => {
    const [a, b] = [await prepare('stories', sharedPath('datasets/tinystories_sample.jsonl')), await prepare('stories', sharedPath('datasets/tinystories_sample.txt'))];
    expect(a.statistics).toEqual(b.statistics);
    for (let i = 0; i < a.train.documents; i++) expect(a.train.read(i)).toEqual(b.train.read(i));
    const { ids } = a.train.read(0);
    expect([ids[0], ids.at(-1)]).toEqual([1, 2]);
    a.train.close();
    b.train.close();
  });
});

describe('too long', () => {
  const rows = [{ input_ids: Array.from({ length: 20 }, (_, i) => 10 + i) }, { input_ids: [1, 2, 3] }];

  it('cuts', async () => {
    const data = await prepare('stories', write(lines(rows)), { max_length: 8 });
    expect([...data.train.lengths]).toEqual([8, 3]);
    expect([...data.train.read(0).ids]).toEqual([10, 11, 12, 13, 14, 15, 16, 17]);
    expect(data.statistics).toMatchObject({ cut: 1, cutTokens: 12, split: 0, longest: 20 });
    expect([data.maxLength, data.maxLengthReason]).toEqual([8, 'as set']);
    data.train.close();
  });

  it('splits so that every token but the first is learned once', async () => {
    const data = await prepare('stories', write(lines(rows)), { max_length: 8, overlong: 'split' });
    expect([...data.train.lengths]).toEqual([8, 8, 6, 3]);
    expect(data.statistics).toMatchObject({ rows: 2, documents: 4, split: 1, cut: 0, trainedTokens: 19 + 2 });
    expect([0, 1, 2, 3].map((i) => data.train.continuesPrevious(i))).toEqual([false, true, true, false]);
    const learned = [0, 1, 2].flatMap((i) => {
      const { ids, trained } = data.train.read(i);
      return [...ids].filter((_, t) => trained[t] === 1);
    });
    expect(learned).toEqual(Array.from({ length: 19 }, (_, i) => 11 + i));
    data.train.close();
  });

  it('splits a text file, says so, and draws its parts for evaluation', async () => {
    const path = write('Once upon a time there was a cat. '.repeat(60), 'txt');
    const data = await prepare('stories', path, { max_length: 32, eval_fraction: 0.25 });
    expect(data.statistics).toMatchObject({ rows: 1, split: 1 });
    expect(data.notices.join('\n')).toContain('split into parts of at most 32 tokens');
    const evaluation = data.evaluation?.documents ?? 0;
    expect(evaluation / (evaluation + data.train.documents)).toBeCloseTo(0.25, 1);
    data.train.close();
  });

  it('refuses', async () => {
    const path = write(lines(rows));
    await expect(prepare('stories', path, { max_length: 8, overlong: 'error' })).rejects.toThrowError(refusal('E_DATA', { where: `${path}:1`, message: saying('20 tokens') }));
  });

  it('leaves out what has lost all its learned tokens', async () => {
    const path = write(lines([{ input_ids: [1, 2, 3, 4, 5], labels: [-100, -100, -100, 4, 5] }, { input_ids: [1, 2, 3], labels: [-100, 2, 3] }]));
    const data = await prepare('stories', path, { max_length: 3 });
    expect(data.statistics).toMatchObject({ rows: 2, documents: 1, untrained: 1 });
    expect(data.notices.join('\n')).toContain('1 documents have no token to learn');
    data.train.close();
  });
});

describe('evaluation data', () => {
  const path = write(lines(Array.from({ length: 40 }, (_, i) => ({ input_ids: [i + 1, i + 2, i + 3] }))));
  const firsts = (file: TokenFile | undefined): readonly number[] => Array.from({ length: file?.documents ?? 0 }, (_, i) => file?.read(i).ids[0] ?? 0);

  it('is drawn by seed, a fixed number, and is not trained on', async () => {
    const draw = async (seed: number): Promise<readonly (readonly number[])[]> => {
      const data = await prepare('stories', path, { eval_fraction: 0.1, seed });
      const drawn = [firsts(data.train), firsts(data.evaluation)];
      expect(data.statistics).toMatchObject({ documents: 36, tokens: 108, trainedTokens: 72 });
      data.train.close();
      return drawn;
    };
    const [train = [], evaluation = []] = await draw(1);
    expect(evaluation).toHaveLength(4);
    expect([...train, ...evaluation].sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(await draw(1)).toEqual([train, evaluation]);
    expect(await draw(2)).not.toEqual([train, evaluation]);
  });

  it('keeps the parts of a split row together', async () => {
    const rows = Array.from({ length: 6 }, (_, i) => ({ input_ids: Array.from({ length: 30 }, (_, t) => i * 30 + t) }));
    const data = await prepare('stories', write(lines(rows)), { eval_fraction: 0.5, max_length: 8, overlong: 'split' });
    const rowOf = (file: TokenFile | undefined): Set<number> => new Set(firsts(file).map((id) => Math.floor(id / 30)));
    expect(rowOf(data.train).size).toBe(3);
    expect([...rowOf(data.train), ...rowOf(data.evaluation)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
    data.train.close();
  });

  it('comes from a file of its own, whose longest document counts too', async () => {
    const other = write(lines([{ input_ids: Array.from({ length: 70 }, (_, i) => i) }]));
    const data = await prepare('stories', path, { eval_dataset: other });
    expect(firsts(data.evaluation)).toEqual([0]);
    expect(data.maxLength).toBe(128);
    expect(data.bucketLengths).toEqual([16, 80]);
    data.train.close();
    data.evaluation?.close();
  });

  it('refuses both, and to draw from one document', async () => {
    await expect(prepare('stories', path, { eval_dataset: path, eval_fraction: 0.1 })).rejects.toThrowError(refusal('E_CONFIG'));
    await expect(prepare('stories', write('{"input_ids":[1,2,3]}\n'), { eval_fraction: 0.1 })).rejects.toThrowError(refusal('E_DATA', { message: saying('only one document') }));
  });
});

describe('the cache', () => {
  it('is used for the same content and settings, and only for those', async () => {
    const work = join(folder, 'cache');
    const count = (): number => readdirSync(work).length;
    const path = write(lines([{ text: 'Once upon a time' }, { text: 'The end' }]));
    const first = await prepare('stories', path, {}, { workDirectory: work });
    const [name = ''] = readdirSync(work);
    const { ino } = statSync(join(work, name));
    const copy = write(readFileSync(path, 'utf8'));
    const again = await prepare('stories', copy, { learning_rate: 1, seed: 3 }, { workDirectory: work });
    expect([count(), statSync(join(work, name)).ino]).toEqual([1, ino]);
    expect(again.statistics).toEqual(first.statistics);
    expect(again.example).toEqual(first.example);

    const others = [
      await prepare('stories', path, { max_length: 10 }, { workDirectory: work }),
      await prepare('stories', path, { train_on_inputs: true }, { workDirectory: work }),
      await prepare('gpt2', path, {}, { workDirectory: work }),
      await prepare('stories', write(lines([{ text: 'Once upon a tile' }, { text: 'The end' }])), {}, { workDirectory: work }),
    ];
    expect(count()).toBe(5);
    for (const data of [first, again, ...others]) data.train.close();
  });

  it('is written anew when it is damaged', async () => {
    const work = join(folder, 'damaged');
    const path = write(lines([{ text: 'Once upon a time' }]));
    const first = await prepare('stories', path, {}, { workDirectory: work });
    first.train.close();
    const [name = ''] = readdirSync(work);
    const bytes = readFileSync(join(work, name));
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    writeFileSync(join(work, name), bytes);
    const again = await prepare('stories', path, {}, { workDirectory: work });
    expect(again.statistics).toEqual(first.statistics);
    again.train.close();
  });
});

describe('refusals', () => {
  const chat = { messages: [{ role: 'user', content: 'u' }, { role: 'assistant', content: 'a' }] };
  it.each([
    ['broken JSON', '{"text":"a"}\n{"text":\n', 'E_DATA', ':2', 'not JSON'],
    ['unknown columns', '{"question":"q","answer":"a"}\n', 'E_DATA', ':1', 'question, answer'],
    ['only empty lines', '\n\n', 'E_DATA', '', 'empty'],
    ['all labels masked', lines([{ input_ids: [1, 2], labels: [-100, -100] }]), 'E_DATA', '', 'no token of the only row'],
    ['an id outside the vocabulary', lines([{ input_ids: [1, 2] }, { input_ids: [1, 512] }]), 'E_DATA', ':2', '512'],
    ['a negative id', lines([{ input_ids: [1, -2] }]), 'E_DATA', ':1', '-2'],
    ['labels of another length', lines([{ input_ids: [1, 2], labels: [1] }]), 'E_DATA', ':1', 'labels has 1'],
    ['another layout', lines([{ text: 'a' }, { input_ids: [1, 2] }]), 'E_DATA', ':2', 'input_ids'],
    ['no template', lines([chat]), 'E_TEMPLATE', ':1', 'no chat template'],
  ])('%s', async (_, content, code, place, text) => {
    const path = write(content);
    const work = join(folder, `refused${files}`);
    await expect(prepare('stories', path, {}, { workDirectory: work })).rejects.toThrowError(refusal(code, { where: path + place, message: saying(text) }));
    mkdirSync(work, { recursive: true });
    expect(readdirSync(work)).toEqual([]);
  });

  it('a max_length beyond the model, or too small', async () => {
    const path = write('{"text":"a b c"}\n');
    await expect(prepare('stories', path, { max_length: 513 })).rejects.toThrowError(refusal('E_CONFIG', { message: saying('512') }));
    await expect(prepare('stories', path, { max_length: 1 })).rejects.toThrowError(refusal('E_CONFIG'));
  });

  it('a chat template that is no file', async () => {
    await expect(prepare('stories', write(lines([chat])), { chat_template: 'none.jinja' })).rejects.toThrowError(refusal('E_TEMPLATE', { message: saying('none.jinja') }));
  });
});

describe('chosen chat templates', () => {
  const chat = lines([{ messages: [{ role: 'user', content: 'One?' }, { role: 'assistant', content: 'Two.' }] }]);

  it('ChatML on a model without one', async () => {
    const data = await prepare('stories', write(chat), { chat_template: 'chatml' });
    expect(marked(data.example)).toBe(' <|im_start|>user\nOne?</s> \n<|im_start|>assistant\n[[Two.</s>]] \n');
    expect(data.endOfTurnIds).toEqual([2]);
    expect(data.chatTemplate).toContain('<|im_start|>');
    data.train.close();
  });

  it('says so when turns end with no token of their own', async () => {
    const template = write("{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}", 'jinja');
    const data = await prepare('gpt2', write(chat), { chat_template: template });
    expect(marked(data.example)).toBe('user: One?\nassistant:[[ Two.\n]]');
    expect(data.notices.join('\n')).toContain('will not know where to stop');
    data.train.close();
  });

  it('from a file, whose content is part of the cache key', async () => {
    const template = write('', 'jinja');
    const path = write(chat);
    const texts: string[] = [];
    for (const mark of ['A', 'B']) {
      writeFileSync(template, `{% for m in messages %}{{ '${mark}:' + m.role + ':' + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '${mark}:assistant:' }}{% endif %}`);
      const data = await prepare('stories', path, { chat_template: template });
      texts.push(marked(data.example));
      data.train.close();
    }
    expect(texts.map((text) => text.trim())).toEqual(['A:user:One?</s> A:assistant:[[Two.</s>]]', 'B:user:One?</s> B:assistant:[[Two.</s>]]']);
  });
});

describe('child processes', () => {
  const job = (datasetPath: string, tokenFilePath: string): TokeniseJob => ({
    datasetPath, tokenFilePath, modelDirectory: MODELS.stories.modelDirectory, chatTemplate: null, trainOnInputs: false, overlong: 'truncate', longestTokens: 64, vocabularySize: 512, slice: null,
  });
  const large = lines(Array.from({ length: 3000 }, (_, i) => ({ input_ids: Array.from({ length: 60 + (i % 9) }, (_, t) => (i * 7 + t) % 512), comment: 'x'.repeat(1600) })));

  it('share out a large file with the same result', async () => {
    const path = write(large);
    await tokeniseInChildren(job(path, join(folder, 'one.bin')), { inProcess: true, processes: 1 });
    const progress: number[] = [];
    await tokeniseInChildren(job(path, join(folder, 'three.bin')), { inProcess: true, processes: 3, onProgress: ({ rows }) => { progress.push(rows); } });
    expect(readFileSync(join(folder, 'three.bin')).equals(readFileSync(join(folder, 'one.bin')))).toBe(true);
    expect(readdirSync(folder).filter((name) => name.includes('part') || name.includes('tmp'))).toEqual([]);
  });

  it('name the line in the whole file', async () => {
    const path = write(`${large}{"input_ids": [1, 2, 999]}\n`);
    await expect(tokeniseInChildren(job(path, join(folder, 'bad.bin')), { inProcess: true, processes: 3 })).rejects.toThrowError(
      refusal('E_DATA', { where: `${path}:3001`, message: saying('999') }),
    );
    expect(readdirSync(folder).filter((name) => name.includes('bad'))).toEqual([]);
  });

  it('stop when told to', async () => {
    const path = write(large);
    await expect(tokeniseInChildren(job(path, join(folder, 'stopped.bin')), { inProcess: true, signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrowError('enough');
    expect(readdirSync(folder).filter((name) => name.includes('stopped'))).toEqual([]);
  });
});

describe('the built code', () => {
  const built = fileURLToPath(new URL('../../dist/data/prepare.js', import.meta.url));
  const forked = async (dataset: string, options: Partial<PrepareOptions> = {}): Promise<PreparedData> => {
    if (!existsSync(built)) throw new Error('this test needs the built code in dist/: run `npm run build` first');
    const module = await import(built) as { prepareData: typeof prepareData };
    return await module.prepareData({ settings: resolveSettings({ model: 'model', dataset }), ...MODELS.stories, workDirectory: join(folder, 'forked'), ...options });
  };

  it('tokenises in a child process, with the same result', async () => {
    const dataset = sharedPath('datasets/tinystories_sample.jsonl');
    const [child, here] = [await forked(dataset), await prepare('stories', dataset)];
    expect(child.statistics).toEqual(here.statistics);
    expect(child.example).toEqual(here.example);
    expect(readFileSync(child.train.path).equals(readFileSync(here.train.path))).toBe(true);
    child.train.close();
    here.train.close();
  });

  it("brings the child's refusals back", async () => {
    const path = write('{"text":"a"}\n{"text":5}\n');
    await expect(forked(path)).rejects.toThrowError(refusal('E_DATA', { where: `${path}:2`, message: 'text is a number, not a string' }));
  });

  it('ends the child when told to, and leaves nothing behind', async () => {
    const path = write(lines(Array.from({ length: 20_000 }, () => ({ text: 'Once upon a time there was a little cat. '.repeat(10) }))));
    const control = new AbortController();
    const work = join(folder, 'aborted');
    const running = forked(path, { workDirectory: work, signal: control.signal, onProgress: () => { control.abort(new Error('enough')); } });
    await expect(running).rejects.toThrowError('enough');
    expect(readdirSync(work)).toEqual([]);
  });
});

it('prepared data feed a batch source', async () => {
  const model = join(folder, 'model');
  cpSync(MODELS.stories.modelDirectory, model, { recursive: true });
  const data = await prepare('stories', sharedPath('datasets/tinystories_sample.jsonl'), {}, { modelDirectory: model });
  const source = new BatchSource({ file: data.train, rowLengths: [data.maxLength], packed: true, rowsPerUpdate: 8, microBatchSize: 2, seed: 42, shuffle: true });
  const update = source.next();
  expect(update).toMatchObject({ endsEpoch: true, epoch: 1, tokens: data.statistics.tokens, trainedTokens: data.statistics.trainedTokens });
  data.train.close();
});

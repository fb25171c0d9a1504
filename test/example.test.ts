/** The example task is honest: nothing to memorise, not known before, learned by fine-tuning, and not learned from labels dealt out at random. */

import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { exactMatch } from '../examples/exact-match.js';
import { allSignals, BASE_HARBOURS, FINE_TUNING, harbourTask, isAnswer, NEW_HARBOUR, shuffleLabels, toJsonLines } from '../examples/harbour.js';
import { loadModel, train } from '../src/index.ts';

const base = fileURLToPath(new URL('../examples/base/', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'fulltune-example-'));
const { train: rows, heldOut } = harbourTask();

afterAll(() => rmSync(work, { recursive: true, force: true }));

async function measure(path: string): Promise<{ readonly share: number; readonly answers: readonly string[] }> {
  await using model = await loadModel(path);
  return await exactMatch(model, heldOut);
}

async function fineTuned(name: string, examples: typeof rows): Promise<string> {
  const dataset = join(work, `${name}.jsonl`);
  writeFileSync(dataset, toJsonLines(examples));
  const { modelPath } = await train({ model: base, dataset, output_dir: join(work, name), ...FINE_TUNING }).result;
  if (modelPath === null) throw new Error('the run ended without a model');
  return modelPath;
}

describe('the task', () => {
  it('has at least 200 distinct answers, the commonest below 5 %', () => {
    for (const part of [rows, heldOut]) {
      const counts = new Map<string, number>();
      for (const { completion } of part) counts.set(completion, (counts.get(completion) ?? 0) + 1);
      expect(counts.size).toBeGreaterThanOrEqual(200);
      expect(Math.max(...counts.values()) / part.length).toBeLessThan(0.05);
    }
  });

  it('holds out prompts that are not trained on', () => {
    const trained = new Set(rows.map(({ prompt }) => prompt));
    expect(heldOut.filter(({ prompt }) => trained.has(prompt))).toEqual([]);
    expect(new Set([...rows, ...heldOut].map(({ prompt }) => prompt)).size).toBe(rows.length + heldOut.length);
  });

  it('shares no meaning of any word with a book that the base model has read', () => {
    const meanings = (harbour: string): readonly (readonly string[])[] =>
      allSignals(harbour).map(({ completion }) => completion.split(/[ .]+/)).map(([, , vessel, action, , , place]) => [vessel!, action!, place!]);
    const merrow = meanings(NEW_HARBOUR);
    for (const harbour of BASE_HARBOURS) {
      const known = meanings(harbour);
      expect(merrow.filter((words, index) => words.some((word, part) => word === known[index]![part]))).toEqual([]);
    }
  });

  it('shuffles labels without losing one', () => {
    const shuffled = shuffleLabels(rows);
    expect(shuffled.map(({ prompt }) => prompt)).toEqual(rows.map(({ prompt }) => prompt));
    expect(shuffled.map(({ completion }) => completion).toSorted()).toEqual(rows.map(({ completion }) => completion).toSorted());
    expect(shuffled.filter(({ completion }, index) => completion === rows[index]!.completion).length).toBeLessThan(10);
  });
});

describe('the base model', () => {
  it('has at most 4 MB of files', () => {
    const bytes = readdirSync(base).map((name) => statSync(join(base, name))).filter((stat) => stat.isFile()).reduce((sum, stat) => sum + stat.size, 0);
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(4_000_000);
  });

  it('answers in the form of the task, and wrong', async () => {
    const { share, answers } = await measure(base);
    expect(answers.filter(isAnswer).length / answers.length).toBeGreaterThanOrEqual(0.9);
    expect(share).toBeLessThan(0.05);
  });
});

describe('fine-tuning', () => {
  it('learns the book', async () => {
    const { share } = await measure(await fineTuned('true', rows));
    expect(share).toBeGreaterThanOrEqual(0.9);
  }, 120_000);

  it('learns nothing that holds elsewhere from shuffled labels', async () => {
    const { share, answers } = await measure(await fineTuned('shuffled', shuffleLabels(rows)));
    expect(answers.filter(isAnswer).length / answers.length).toBeGreaterThanOrEqual(0.5);
    expect(share).toBeLessThan(0.1);
  }, 120_000);
});

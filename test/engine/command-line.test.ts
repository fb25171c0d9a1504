/** The main job through the built command line, on real weights: the reference curve read off trainer_state.json, greedy text, bad input. */

import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { sharedPath } from '../../src/testing/shared.ts';

const bin = fileURLToPath(new URL('../../bin/fulltune.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const run = promisify(execFile);
const fulltune = async (...args: string[]): Promise<string> => (await run(process.execPath, [bin, ...args])).stdout;

interface Reference {
  readonly dense: {
    readonly input_ids: readonly number[][];
    readonly labels: readonly number[][];
    readonly f64: Readonly<Record<string, { readonly losses: readonly number[]; readonly global_grad_norms: readonly number[] }>>;
  };
  readonly inference: { readonly prompt: string; readonly greedy_text: string };
}

const model = sharedPath('models/stories260K');
const reference = JSON.parse(readFileSync(sharedPath('reference/stories260K_dense.json'), 'utf8')) as Reference;

describe('fulltune train', () => {
  const dataset = join(folder, 'rows.jsonl');
  writeFileSync(dataset, reference.dense.input_ids.map((ids, row) => `${JSON.stringify({ input_ids: ids, labels: reference.dense.labels[row] })}\n`).join(''));

  it.each([4, 1])('follows the f64 curve on pre-tokenised rows, %i rows per micro-batch', async (rows) => {
    const output = join(folder, `reference-${rows}`);
    await fulltune(
      'train', '--model', model, '--dataset', dataset, '--output-dir', output, '--no-shuffle', '--no-packing', '--max-length', '128', '--train-batch-size', '4',
      '--per-device-train-batch-size', String(rows), '--max-steps', '20', '--learning-rate', '1e-4', '--lr-scheduler-type', 'constant', '--adam-beta2', '0.95',
      '--weight-decay', '0.1', '--max-grad-norm', '1', '--save-steps', '20',
    );
    const { log_history: log } = JSON.parse(readFileSync(join(output, 'checkpoint-20', 'trainer_state.json'), 'utf8')) as { log_history: { loss: number; grad_norm: number }[] };
    const expected = reference.dense.f64['adamw20_decay_2d_clip1_batch4']!;
    expect(log).toHaveLength(20);
    log.forEach(({ loss, grad_norm: norm }, step) => {
      expect(Math.abs(loss / expected.losses[step]! - 1), `loss of step ${step + 1}`).toBeLessThan(2e-6);
      expect(Math.abs(norm / expected.global_grad_norms[step]! - 1), `gradient norm of step ${step + 1}`).toBeLessThan(2e-5);
    });
  });
});

describe('kill -9', () => {
  it('in the middle of training costs only the steps since the last checkpoint: resumed, the run ends with the same bits', async () => {
    const flags = ['--model', model, '--dataset', sharedPath('datasets/tinystories_sample.jsonl'), '--max-length', '128', '--overlong', 'split', '--max-steps', '30', '--learning-rate', '1e-3', '--save-steps', '4'];
    const [whole, killed] = [join(folder, 'whole'), join(folder, 'killed')];
    await fulltune('train', ...flags, '--output-dir', whole);
    const child = spawn(process.execPath, [bin, 'train', ...flags, '--output-dir', killed, '--json']);
    let text = '';
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('"kind":"step","step":10,')) child.kill('SIGKILL');
      });
      child.on('exit', () => resolve());
    });
    expect(existsSync(join(killed, 'model'))).toBe(false);
    await fulltune('resume', killed);
    for (const file of ['model/model.safetensors', 'checkpoint-30/optimizer.safetensors']) {
      expect(readFileSync(join(killed, file)).equals(readFileSync(join(whole, file))), file).toBe(true);
    }
  });
});

describe('fulltune generate', () => {
  it('continues greedily as the reference does', async () => {
    const { prompt, greedy_text: text } = reference.inference;
    const out = await fulltune('generate', '--model', model, '--prompt', prompt, '--max-new-tokens', '64', '--temperature', '0');
    expect(`${prompt}${out}`.trim().startsWith(text.trim())).toBe(true);
  });
});

describe('bad input', () => {
  const failing = async (...args: string[]): Promise<{ readonly code: number; readonly stderr: string }> => {
    try {
      await run(process.execPath, [bin, ...args]);
    } catch (error) {
      return error as { code: number; stderr: string };
    }
    throw new Error(`fulltune ${args.join(' ')} did not fail`);
  };
  const output = join(folder, 'never');
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const story = JSON.stringify({ text: 'Once upon a time.' });

  it.each([
    ['a broken line', () => ['--dataset', write('broken.jsonl', `${story}\n{"text": \n`)], /E_DATA.*broken\.jsonl:2/s],
    ['wrong columns', () => ['--dataset', write('columns.jsonl', '{"foo": 1}\n')], /E_DATA.*foo.*messages/s],
    ['an empty dataset', () => ['--dataset', write('empty.jsonl', '')], /E_DATA.*empty/s],
    ['nothing to learn', () => ['--dataset', write('masked.jsonl', '{"input_ids": [1,2,3], "labels": [-100,-100,-100]}\n')], /E_DATA/],
    ['ids outside the vocabulary', () => ['--dataset', write('ids.jsonl', '{"input_ids": [1,2,512]}\n')], /E_DATA.*512/s],
    ['labels of another length', () => ['--dataset', write('labels.jsonl', '{"input_ids": [1,2,3], "labels": [1,2]}\n')], /E_DATA/],
    ['a misspelt flag', () => ['--dataset', write('story.jsonl', story), '--learning-rat', '1'], /--learning-rate/],
    ['a missing model', () => ['--dataset', write('story.jsonl', story), '--model', join(folder, 'nowhere')], /E_(HUB|MODEL)/],
    ['no room on disk', () => ['--dataset', write('story.jsonl', story), '--save-total-limit', '1000000'], /E_DISK.*checkpoints/s],
  ] as const)('%s ends with exit code 2, a short message, and nothing written', async (_name, args, message) => {
    const { code, stderr } = await failing('train', '--model', model, '--output-dir', output, '--max-steps', '1', ...args());
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(code).toBe(2);
    expect(existsSync(output)).toBe(false);
  });
});

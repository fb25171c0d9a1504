import { describe, expect, it } from 'vitest';
import { visibleWidth } from '../base/table.ts';
import { PLAIN } from './colour.ts';
import type { EndEvent } from '../run/events.ts';
import { quoted, renderCheckpoint, renderEnd, renderEval, renderLiveStep, renderStart, renderStep } from './progress.ts';
import { END, START, STEP } from './testing/sample-events.ts';
import { SIGNS } from './testing/recorder.ts';

describe('renderStart', () => {
  it('says what is trained on what, how, and in how much memory', () => {
    expect(renderStart(START, PLAIN)).toBe(`\
model   small (llama), 1,234,567 parameters, 1,234,000 trained, 567 frozen
data    1,000 documents, 20,000 tokens, 45 % trained, 3 cut off
rows    40 per epoch, up to 512 tokens
batch   8 rows per update = micro-batch 4 × accumulation 2
steps   2
device  cpu (avx2, 2 threads)
run     runs/a b

chosen
  max_length  512  the longest document has 497 tokens

techniques
  optimizer: AdamW, f32 moments

note  dropout 0.1 is not applied

memory at the peak
  parameter   24.0 MiB  25 %
  activation  72.0 MiB  75 %
  live        96.0 MiB
  arena 100.0 MiB, with the process at most 244.0 MiB

one training row, trained tokens in ‹ ›
  Why?‹ Because.›
`);
  });

  it('leaves out what there is not, and counts the steps that are done', () => {
    const text = renderStart({ ...START, startStep: 1, choices: [], notices: [], example: [], model: { ...START.model, trained: 1_234_567 } }, PLAIN);
    expect(text).toContain('all trained');
    expect(text).toContain('steps   1 done, 1 to go');
    expect(text).not.toMatch(/chosen|note|training row/);
  });

  it('marks trained tokens by colour where there is colour', () => {
    expect(renderStart(START, SIGNS)).toContain('<dim:Why?><green: Because.>');
  });
});

describe('a step', () => {
  it('is one line', () => {
    expect(renderStep(STEP, 50)).toBe(
      'step 1/50  epoch 0.20  loss 3.214  grad norm 1.500  lr 9.60e-4  5,000 tokens/s  MFU 61 %  memory 200.0 MiB  left 1:05');
  });

  it('shows the loss scale where there is one, and that an update was skipped', () => {
    expect(renderStep({ ...STEP, lossScale: 65536 }, 50)).toMatch(/grad norm 1\.500 .*left 1:05  loss scale 65536$/);
    const skipped = { ...STEP, gradientNorm: null, lossScale: 65536, skipped: true } as const;
    expect(renderStep(skipped, 50)).toMatch(/grad norm overflow .*loss scale 65536, update skipped$/);
    expect(renderLiveStep(skipped, 4, { columns: 200, paint: PLAIN })).toContain('grad overflow  epoch 0.20  scale 65536 skipped  MFU');
    expect(renderLiveStep(STEP, 4, { columns: 200, paint: PLAIN })).not.toContain('scale');
  });

  it('has a bar on a terminal', () => {
    expect(renderLiveStep(STEP, 4, { columns: 160, paint: PLAIN })).toBe(
      '██████░░░░░░░░░░░░░░░░░░ 1/4  loss 3.214  left 1:05  5,000 tok/s  lr 9.60e-4  grad 1.500  epoch 0.20  MFU 61 %  200.0 MiB');
  });

  it('names the newest checkpoint on a terminal', () => {
    expect(renderLiveStep(STEP, 4, { columns: 160, paint: PLAIN, saved: 1 })).toContain('epoch 0.20  saved 1  MFU');
  });

  it.each([20, 40, 60, 80, 100, 119])('fits into %i columns', (columns) => {
    expect(visibleWidth(renderLiveStep(STEP, 4, { columns, paint: PLAIN }))).toBeLessThan(columns);
  });
});

describe('evaluation, checkpoint, end', () => {
  it('are lines', () => {
    expect(renderEval({ kind: 'eval', step: 5, loss: 2.25, perplexity: 9.487735, tokens: 1200, evalMs: 1500 })).toBe(
      'eval at step 5  loss 2.250  perplexity 9.488  1,200 tokens  1.5 s');
    expect(renderCheckpoint({ kind: 'checkpoint', step: 5, path: 'runs/x/checkpoint-5', bytes: 3 * 1024 ** 3, saveMs: 12_300 })).toBe(
      'checkpoint runs/x/checkpoint-5  3.00 GiB  12 s');
  });

  it('put planned and measured memory side by side and say what to type', () => {
    expect(renderEnd(END, PLAIN, { runDirectory: 'runs/a b', dataset: 'd.jsonl' })).toBe(`
finished  after step 2, 1:02:05
memory    planned at most 244.0 MiB, measured peak 231.0 MiB (−5.3 %)
step      planned 812 ms, measured 790 ms (−2.7 %)
model     runs/a b/model

next
  fulltune generate --model 'runs/a b/model' --prompt "…"
  fulltune eval --model 'runs/a b/model' --dataset d.jsonl
`);
    expect(renderEnd({ ...END, reason: 'interrupted', modelPath: null, modelStep: null, step: 1 }, PLAIN, { runDirectory: 'runs/x', dataset: undefined })).toContain(
      'next\n  fulltune resume runs/x\n');
  });

  it('call an estimate an estimate', () => {
    expect(renderEnd({ ...END, predictedStepMs: null }, PLAIN, { runDirectory: 'runs/x', dataset: undefined })).toContain('memory    planned about 244.0 MiB, measured peak 231.0 MiB (−5.3 %)\n');
  });

  it('leave out times that nobody foresaw or measured', () => {
    const end = (changes: Partial<EndEvent>): string => renderEnd({ ...END, ...changes }, PLAIN, { runDirectory: 'runs/x', dataset: undefined });
    expect(end({ predictedStepMs: null, measuredStepMs: 2500 })).toContain('step      measured 2.5 s\n');
    expect(end({ measuredStepMs: null })).not.toContain('step  ');
  });

  it('after memory pressure say how much to go on with', () => {
    const text = renderEnd({ ...END, reason: 'memory-pressure', modelPath: null, modelStep: null, suggestedMemoryBytes: 3520 * 1024 ** 2 }, PLAIN, { runDirectory: 'runs/x', dataset: undefined });
    expect(text).toContain('stopped for want of memory  after step 2');
    expect(text).toContain('next\n  fulltune resume runs/x --memory 3520MiB\n');
  });

  it('quote what a shell would split', () => {
    expect([quoted('a/b-c.d'), quoted("it's"), quoted('$x')]).toEqual(['a/b-c.d', `'it'\\''s'`, `'$x'`]);
  });
});
